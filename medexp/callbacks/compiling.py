"""torch.compile for training, given up with a word where it does not work."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn

log = logging.getLogger(__name__)


class Compile(pl.Callback):
    """Compiles `net` for training steps. The first batch is tried forward and backward before anything is learnt from it;
    where that fails (some networks crash the compiler, some machines have none), a line says so and training goes on
    uncompiled. Validation meets images of many sizes, and a compilation for each: it runs uncompiled.

    mode: torch.compile's; "reduce-overhead" replays CUDA graphs.
    """

    def __init__(self, mode: str = "default") -> None:
        self.mode = mode
        self._compiled: Any = None  # what nn.Module calls in place of forward; None: as written
        self._tried = False

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if not self._tried:
            self._tried = True
            self._try(trainer, pl_module, batch)
        if self._compiled is not None and self.mode == "reduce-overhead":
            torch.compiler.cudagraph_mark_step_begin()

    def _try(self, trainer: pl.Trainer, task: Any, batch: Any) -> None:
        net: nn.Module = task.net
        try:
            net.compile(mode=self.mode)
            with _untouched(net, task.device), trainer.precision_plugin.train_step_context():
                loss = task.step(batch).loss
                # Not loss.backward(): the gradients belong to the step to come, and DDP would wait for other ranks.
                torch.autograd.grad(loss, [p for p in net.parameters() if p.requires_grad], allow_unused=True)
        except Exception as error:  # the compiler raises many kinds, of its own and of what it calls
            said = getattr(error, "inner_exception", error)  # what the compiler met, rather than which part of it
            reason = (str(said).strip().splitlines() or [type(said).__name__])[0]
            log.warning("trainer.compile: %s goes on uncompiled: %s", type(net).__name__, reason[:200])
            net._compiled_call_impl = None
            return
        self._compiled = net._compiled_call_impl

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._call(pl_module, None)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._call(pl_module, self._compiled)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._call(pl_module, None)  # the test split, too, has images of many sizes
        self._compiled, self._tried = None, False

    def _call(self, task: Any, compiled: Any) -> None:
        if self._compiled is not None:
            task.net._compiled_call_impl = compiled


@contextlib.contextmanager
def _untouched(net: nn.Module, device: torch.device) -> Iterator[None]:
    """Within, running statistics and generators may move; afterwards they are as before."""
    before = [(buffer, buffer.clone()) for buffer in net.buffers()]
    devices, kind = ([], "cuda") if device.type == "cpu" else ([device], device.type)
    with torch.random.fork_rng(devices, device_type=kind):
        try:
            yield
        finally:
            for buffer, value in before:
                buffer.copy_(value)
