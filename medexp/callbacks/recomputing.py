"""Activation checkpointing: memory for time."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import MethodType
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from medexp.errors import UserError

log = logging.getLogger(__name__)
LAYERS = (nn.modules.conv._ConvNd, nn.Linear)
MOST = 5  # layers of a block: a residual unit, a transformer block, an inverted bottleneck with its squeeze
KEY = "trainer.activation_checkpointing"


class Recompute(pl.Callback):
    """In training steps the blocks of `net` keep their input alone and are computed once more in the backward pass
    (Chen et al. 2016, Training Deep Nets with Sublinear Memory Cost): less memory, about a third more time.

    The numbers stay as they are: dropout draws again what it drew, and running statistics count a batch once. Names in
    checkpoints stay as well. A block that writes into its input, as few do, ends the training with UserError.
    """

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        found = blocks(pl_module.net)  # type: ignore[arg-type]
        for block in found:
            block.forward = MethodType(_forward, block)  # bound: a copy of the network has its own
        if not found:
            log.warning("%s: %s has no blocks of layers to compute again", KEY, type(pl_module.net).__name__)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        for block in blocks(pl_module.net):  # type: ignore[arg-type]
            block.__dict__.pop("forward", None)


def blocks(net: nn.Module) -> list[nn.Module]:
    """The outermost modules within `net` of two to MOST layers with weights; none lies within another."""
    found: list[nn.Module] = []
    taken: set[nn.Module] = set()
    waiting = [*net.children()]
    while waiting:
        module = waiting.pop(0)
        within = set(module.modules())
        if within & taken:  # some networks hold a block once more within a nest of all
            continue
        layers = sum(isinstance(one, LAYERS) for one in within)
        if 2 <= layers <= MOST and not isinstance(module, nn.ModuleList | nn.ModuleDict):
            found.append(module)
            taken |= within
        else:
            waiting = [*module.children(), *waiting]
    return found


def _forward(self: nn.Module, *args: Any, **named: Any) -> Any:
    """What takes the place of a block's `forward`."""
    if not (self.training and torch.is_grad_enabled()):
        return type(self).forward(self, *args, **named)
    before = _versions(args)
    if any(isinstance(one, nn.modules.batchnorm._NormBase) and one.track_running_stats for one in self.modules()):
        named["context_fn"] = lambda: (nullcontext(), _counted(self))  # which torch.compile does not know
    found = checkpoint(type(self).forward, self, *args, use_reentrant=False, **named)
    if _versions(args) != before:  # torch finds those who write later, in the backward pass
        raise UserError(
            f"{KEY}: {type(self).__name__} writes into its input, so that it cannot be computed once more; leave it false "
            "for this network"
        )
    return found


def _versions(args: tuple[Any, ...]) -> list[int]:
    return [value._version for value in args if isinstance(value, Tensor)]


@contextmanager
def _counted(block: nn.Module) -> Iterator[None]:
    """Within, norms see a batch without taking it into their running statistics once more."""
    before = [
        (norm, norm.momentum, counter, counter.clone())
        for norm in block.modules()
        if isinstance(norm, nn.modules.batchnorm._NormBase) and norm.training and norm.track_running_stats
        if (counter := norm.num_batches_tracked) is not None
    ]
    try:
        for norm, *_ in before:
            norm.momentum = 0.0  # without the statistics autograd would keep fewer tensors than the first time
        yield
    finally:
        for norm, momentum, counter, batches in before:
            norm.momentum = momentum
            counter.copy_(batches)
