"""Convolutions of small feature maps learn in float32 where a CPU trains in bfloat16."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.func import functional_call

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


class SmallConvolutions(pl.Callback):
    """Where an axis of a feature map is shorter than the kernel, the gradient of the kernel is worked out in float32.

    torch 2.13's library for convolutions (oneDNN) returns memory that it has not written as that gradient, on CPUs with
    AVX512-BF16 and without AMX: numbers of any size, or nan, in the deepest layers of a U-Net whose patches come down to
    one or two voxels. Such maps are so small that float32 costs nothing. Larger maps, inference and GPUs stay as they are.
    """

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage == "fit" and trainer.strategy.root_device.type == "cpu" and "bf16" in str(trainer.precision):
            for module in pl_module.modules():
                if isinstance(module, CONVOLUTIONS) and not isinstance(module.forward, partial):
                    vars(module)["forward"] = partial(_guarded, module, module.forward)


def _guarded(module: Any, forward: Callable[..., Tensor], image: Tensor, *rest: Any) -> Tensor:
    """The convolution, in float32 where its map is small and a gradient is wanted."""
    if not torch.is_grad_enabled() or not _small(module, image):
        return forward(image, *rest)
    with torch.autocast(image.device.type, enabled=False):
        if module.weight.dtype == torch.float32:
            return forward(image.float(), *rest).to(image.dtype)
        whole = {name: value.float() for name, value in module.named_parameters(recurse=False)}
        found: Tensor = functional_call(module, whole, (image.float(), *rest))
        return found.to(image.dtype)


def _small(module: Any, image: Tensor) -> bool:
    """Whether an axis is shorter than the kernel, with the gaps that dilation leaves in it."""
    sizes = zip(image.shape[2:], module.kernel_size, module.dilation, strict=True)
    return any(size < (kernel - 1) * gap + 1 for size, kernel, gap in sizes)
