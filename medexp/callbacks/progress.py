"""How far a training is: a line an epoch in the log whether or not somebody is looking, and a bar for who does."""

from __future__ import annotations

import logging
import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import RichProgressBar

from medexp.callbacks.throughput import Throughput, spell

log = logging.getLogger(__name__)
REDRAW = 0.1  # seconds between two drawings of the bar


class Bar(RichProgressBar):
    """Lightning's progress bar, drawn a few times a second instead of once a step."""

    _drawn = 0.0

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if time.monotonic() - self._drawn >= REDRAW or trainer.is_last_batch:
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
            self._drawn = time.monotonic()


class EpochLines(pl.Callback):
    """`epoch 3/30  train/loss 0.4102  val/dice 0.8021  2.1 s  61.2 samples/s  data 0.3 %  812 MB  left 0:57`.

    What stands behind the seconds is Throughput's, where that callback is there: samples a second, the share of the time
    of steps in which they waited for data, peak memory.
    """

    def __init__(self) -> None:
        self._started = self._fit_started = 0.0
        self._first = 0
        self._ended: tuple[int, float, float] | None = None  # epoch, its seconds, seconds since the start of fit

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._first = trainer.current_epoch
        self._started = self._fit_started = time.monotonic()  # an epoch that is gone on with has no start of its own

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
            around: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]  # set by a connector
            speed = next((callback.last for callback in around if isinstance(callback, Throughput)), None)
            shown = spell(speed) if speed else ""
            log.info("%s", line(values, *self._ended, self._first, trainer.max_epochs or -1, shown))
        self._ended = None


def line(
    values: dict[str, float], epoch: int, seconds: float, elapsed: float, first: int, last: int, speed: str = ""
) -> str:
    """`epoch` counts from 1; `first` is the number of epochs done before this fit; last: -1 where no end is set."""
    shown = "  ".join(f"{name} {value:.4f}" for name, value in sorted(values.items()))
    text = f"epoch {epoch}{f'/{last}' if last > 0 else ''}  {shown}  {seconds:.1f} s{f'  {speed}' if speed else ''}"
    if last > 0:
        left = round(elapsed / max(1, epoch - first) * (last - epoch))
        text += f"  left {left // 60}:{left % 60:02d}"
    return text
