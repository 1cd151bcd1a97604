"""A loss or a gradient that is no number stops the run at its step, with the cases that it came from."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.optim import Optimizer

log = logging.getLogger(__name__)
ADVICE = "lower optimizer.lr, set trainer.gradient_clip_val=1, or use trainer.precision=32-true"


class Seen(NamedTuple):
    """A step as it is to be judged. numbers: loss and norm of the gradient, (2,). sent: when the device has sent them."""

    step: int
    epoch: int
    cases: list[str]
    numbers: Tensor
    sent: Any


class Finite(pl.Callback):
    """Raises FloatingPointError where the loss or the gradient of a step is not finite; its cases go into `path` (JSON).

    skip: as many such steps of a run are left out instead: the weights stay as they are. This needs the norm before the
    optimizer's step, so on a GPU each step waits for the device; else (0) the host reads a step's numbers while the
    device works on the next. No checkpoint is written of a step that was not judged.

    The gradient's norm is the one that clipping computes (`Task.gradient_norm`). It is equal on all ranks, so that all
    stop, or skip, together: where there are several, it alone is judged. With float16, whose scaler expects gradients
    that are not finite and skips them, only the loss is.
    """

    def __init__(self, path: str, skip: int = 0) -> None:
        self.path, self.skip = Path(path), skip
        self.skipped = 0
        self._batches: list[list[str]] = []  # case ids of each batch of the step
        self._left_out = False
        self._seen: Seen | None = None

    def state_dict(self) -> dict[str, Any]:
        return {"skipped": self.skipped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.skipped = state_dict["skipped"]

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, idx: int) -> None:
        self._batches.append([str(case) for case in batch["case_id"]])

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        if (self.skipped >= self.skip and not self._left_out) or _scaled(trainer):
            return
        taken = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        norm = torch.nn.utils.get_total_norm([p.grad for p in taken])
        if torch.isfinite(norm):
            return
        for parameter in taken:
            parameter.grad = None  # optimizers pass over parameters without a gradient
        if self._left_out:  # by another optimizer of the same step: said and counted
            return
        self._left_out = True
        self.skipped += 1
        loss: Any = pl_module.leave_out(len(self._batches))  # type: ignore[operator]
        said = self._record(trainer, self._look(trainer, loss, norm, wait=True), "left out")
        log.warning("%s; left out (%d of at most %d)", said, self.skipped, self.skip)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.judge(trainer)  # the step before
        if not self._left_out and outputs:
            norm = None if _scaled(trainer) else pl_module.gradient_norm
            self._seen = self._look(trainer, outputs["loss"], norm)  # type: ignore[arg-type]
            if self._seen.sent is None:
                self.judge(trainer)
        if not trainer.fit_loop._should_accumulate():
            self._batches.clear()
            self._left_out = False

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.judge(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.judge(trainer)

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: Any) -> None:
        self.judge(trainer)

    def judge(self, trainer: pl.Trainer) -> None:
        """Raises FloatingPointError where the step that was seen last, and not judged yet, is not finite."""
        seen, self._seen = self._seen, None
        if seen is None:
            return
        if seen.sent is not None:
            seen.sent.synchronize()
        loss, norm = seen.numbers.tolist()
        if not math.isfinite(norm) or not (math.isfinite(loss) or trainer.world_size > 1):
            raise FloatingPointError(f"{self._record(trainer, seen, 'stopped')}; {ADVICE}")

    def _look(self, trainer: pl.Trainer, loss: Tensor, norm: Tensor | None, wait: bool = False) -> Seen:
        """The numbers on their way to the host; they are there at once where the device is the CPU, or to `wait` for it."""
        numbers = torch.stack([loss.detach().float(), torch.zeros_like(loss).float() if norm is None else norm.float()])
        sent = None
        if numbers.is_cuda and not wait:
            host = torch.empty(2, pin_memory=True)
            host.copy_(numbers, non_blocking=True)
            numbers, sent = host, torch.cuda.Event()
            sent.record()
        step = trainer.fit_loop.epoch_loop._batches_that_stepped  # as in metrics.csv
        return Seen(step, trainer.current_epoch, [case for batch in self._batches for case in batch], numbers, sent)

    def _record(self, trainer: pl.Trainer, seen: Seen, outcome: str) -> str:
        """Adds the step, of all ranks, to the file; returns what to say of it."""
        loss, norm = seen.numbers.tolist()
        own: dict[str, Any] = {"loss": _shown(loss), "gradient_norm": _shown(norm), "case_ids": seen.cases}
        ranks: list[Any] = [own]
        if trainer.world_size > 1:
            ranks = [None] * trainer.world_size
            torch.distributed.all_gather_object(ranks, own)
        culprit = next((entry for entry in ranks if isinstance(entry["loss"], str)), own)
        found = isinstance(culprit["loss"], str)
        what = f"training loss became {culprit['loss']}" if found else f"gradient became {own['gradient_norm']}"
        if trainer.is_global_zero:
            entries = json.loads(self.path.read_text(encoding="utf-8")) if self.path.is_file() else []
            entries.append({"epoch": seen.epoch, "step": seen.step, "outcome": outcome, "ranks": ranks})
            part = self.path.with_name(f".{self.path.name}.part")
            part.write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")
            part.replace(self.path)
        cases = culprit["case_ids"]
        named = ", ".join(cases[:4]) + (f" and {len(cases) - 4} more" if len(cases) > 4 else "")
        return f"the {what} in epoch {seen.epoch}, step {seen.step}, with the cases {named} (all in {self.path.name})"


def _shown(number: float) -> float | str:
    """JSON has no word for what is not finite."""
    return number if math.isfinite(number) else str(number)


def _scaled(trainer: pl.Trainer) -> bool:
    return getattr(trainer.precision_plugin, "scaler", None) is not None
