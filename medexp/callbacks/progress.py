"""One line an epoch with an estimate of the time left, in the log whether or not somebody is looking."""

from __future__ import annotations

import logging
import time

import pytorch_lightning as pl

log = logging.getLogger(__name__)


class EpochLines(pl.Callback):
    """`epoch 3/30  train/loss 0.4102  val/dice 0.8021  val/loss 0.4544  2.1 s  left 0:57`."""

    def __init__(self) -> None:
        self._started = self._fit_started = 0.0
        self._first = 0
        self._ended: tuple[int, float, float] | None = None  # epoch, its seconds, seconds since the start of fit

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._fit_started, self._first = time.monotonic(), trainer.current_epoch

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._say(trainer)
        self._started = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Callbacks come before the task, which has yet to log train/loss: the line waits until the epoch is over for all.
        now = time.monotonic()
        self._ended = (trainer.current_epoch + 1, now - self._started, now - self._fit_started)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._say(trainer)

    def _say(self, trainer: pl.Trainer) -> None:
        if self._ended and trainer.is_global_zero:
            values = {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith(("train/", "val/"))}
            log.info("%s", line(values, *self._ended, first=self._first, last=trainer.max_epochs or -1))
        self._ended = None


def line(values: dict[str, float], epoch: int, seconds: float, elapsed: float, first: int, last: int) -> str:
    """`epoch` counts from 1; `first` is the number of epochs done before this fit; last: -1 where no end is set."""
    shown = "  ".join(f"{name} {value:.4f}" for name, value in sorted(values.items()))
    text = f"epoch {epoch}{f'/{last}' if last > 0 else ''}  {shown}  {seconds:.1f} s"
    if last > 0:
        left = round(elapsed / (epoch - first) * (last - epoch))
        text += f"  left {left // 60}:{left % 60:02d}"
    return text
