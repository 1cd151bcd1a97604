"""One line an epoch with an estimate of the time left, in the log whether or not somebody is looking."""

from __future__ import annotations

import logging
import time

import pytorch_lightning as pl

log = logging.getLogger(__name__)


class EpochLines(pl.Callback):
    """`epoch 3/30  train/loss 0.41  val/dice 0.802 (best 0.802)  2.1 s  left 0:57`."""

    def __init__(self) -> None:
        self._started = self._fit_started = 0.0
        self._first = 0

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._fit_started, self._first = time.monotonic(), trainer.current_epoch

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._started = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            log.info("%s", self.line(trainer))

    def line(self, trainer: pl.Trainer) -> str:
        now, epoch = time.monotonic(), trainer.current_epoch + 1
        values = {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith(("train/", "val/"))}
        shown = "  ".join(f"{name} {value:.4f}" for name, value in sorted(values.items()))
        of = f"/{trainer.max_epochs}" if (trainer.max_epochs or -1) > 0 else ""
        text = f"epoch {epoch}{of}  {shown}  {now - self._started:.1f} s"
        if of:
            left = (now - self._fit_started) / (epoch - self._first) * ((trainer.max_epochs or 0) - epoch)
            text += f"  left {int(left) // 60}:{int(left) % 60:02d}"
        return text
