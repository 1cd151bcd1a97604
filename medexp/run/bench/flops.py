"""Arithmetic of a training step, the machine's best rate, and the peak memory that a part takes."""

from __future__ import annotations

import ctypes
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from medexp import performance

TRIES = 6  # multiplications; the first one warms up


def of_step(net: nn.Module, image: torch.Size) -> int:
    """Floating-point operations of forward and backward pass of a network on a batch of this shape (B, C, *spatial).

    `net` lies on the meta device, so nothing is computed. Counted are convolutions and matrix products, a multiplication
    and an addition as two; the loss, norms and activations are not.
    """
    counter = FlopCounterMode(display=False)
    with counter:
        scores: Any = net(torch.empty(image, device="meta"))
        heads = scores if isinstance(scores, list | tuple) else [scores]
        torch.stack([head.sum() for head in heads]).sum().backward()
    return int(counter.get_total_flops())


def matmul_peak(dtype: torch.dtype, device: torch.device, size: int | None = None) -> float:
    """FLOP/s of the fastest of a few products of square matrices: what no network will exceed on this machine."""
    size = size or (8192 if device.type == "cuda" else 2048)
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    times = []
    for _ in range(TRIES):
        begun = time.perf_counter()
        left @ right
        wait(device)
        times.append(time.perf_counter() - begun)
    return float(2 * size**3 / min(times[1:]))


def wait(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def restart_peak(device: torch.device) -> None:
    """Forgets the peak so far, after memory that is not in use has gone back."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    elif sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets VmHWM


def peak_memory(device: torch.device) -> float | None:
    """Bytes: of the GPU's tensors, or of the whole process since `restart_peak`; None where the system does not tell."""
    if device.type != "cuda" and sys.platform != "linux":
        return None
    return float(performance.peak_memory(device))
