"""What this machine computes fast: number formats, threads, memory."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import Any

import torch

QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container: microseconds of CPU time a period, and the period


def fastest_precision(accelerator: str) -> str:
    """`trainer.precision` that is fastest here with weights and sums in float32, by what the hardware says of itself.

    bf16-mixed where there are units for bfloat16: CUDA from compute capability 8.0 (Ampere) on, a CPU with AVX512-BF16 or
    AMX. 16-mixed on CUDA from 7.0 (Volta) on, whose units know float16 only. 32-true elsewhere: 16 bits would be emulated.
    accelerator: `trainer.accelerator`; "auto" takes a GPU where there is one, as Lightning does.
    """
    if accelerator in ("gpu", "cuda", "auto") and torch.cuda.is_available():
        major = min(torch.cuda.get_device_capability(index)[0] for index in range(torch.cuda.device_count()))
        return "bf16-mixed" if major >= 8 else "16-mixed" if major >= 7 else "32-true"
    metal = accelerator in ("gpu", "mps", "auto") and torch.backends.mps.is_available()
    return "bf16-mixed" if not metal and _bfloat16_on_cpu() else "32-true"


def settle(trainer: dict[str, Any]) -> None:
    """Writes what `precision: auto` means on this machine into a trainer's arguments, before they are written down: a run
    is evaluated and resumed in the precision that it was trained in, wherever that happens."""
    if trainer.get("precision") == "auto":
        trainer["precision"] = fastest_precision(str(trainer.get("accelerator", "auto")))


def _bfloat16_on_cpu() -> bool:
    flags = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, flag)() for flag in flags if hasattr(torch.cpu, flag))


def use_threads(ranks: int = 1, workers: int = 0) -> int:
    """Sets torch's threads of this process so that those of all ranks and workers together are no more than the cores.

    OMP_NUM_THREADS goes before: where it is set, nothing is changed. torch itself gives each worker one thread. Returns
    the threads of this process. ranks: processes that train on this machine. workers: loader processes of each.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, cores() // ranks - workers))
        if (
            ranks > 1
        ):  # Lightning starts the others with this environment, and would share the cores without the workers
            os.environ["OMP_NUM_THREADS"] = str(torch.get_num_threads())
    return torch.get_num_threads()


def cores() -> int:
    """Cores that this process may use: by its affinity, and by the quota of its container."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = QUOTA.read_text().split()
    except (OSError, ValueError):
        return allowed
    return allowed if quota == "max" else max(1, min(allowed, int(quota) // int(period)))


def peak_memory(device: torch.device) -> int:
    """Bytes at the largest so far: tensors on a CUDA device; elsewhere this process, less its workers."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if status.is_file():  # ru_maxrss begins with what the process that started this one held
        line = next((line for line in status.read_text().splitlines() if line.startswith("VmHWM")), "")
        if line:
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS: bytes
