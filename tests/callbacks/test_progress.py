"""The line of an epoch: its values, its seconds, and the time left by the pace of this fit."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pytorch_lightning.callbacks import RichProgressBar

from medexp.callbacks import progress
from medexp.callbacks.progress import Bar, EpochLines, line

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*LeafSpec")
VALUES = {"val/loss": 0.45444, "train/loss": 0.41021, "val/dice": 0.8}


def test_values_stand_in_order_with_the_seconds_and_the_time_left() -> None:
    text = line(VALUES, epoch=3, seconds=2.06, elapsed=6.3, first=0, last=30)
    assert text == "epoch 3/30  train/loss 0.4102  val/dice 0.8000  val/loss 0.4544  2.1 s  left 0:57"


@pytest.mark.parametrize(
    ("epoch", "first", "last", "elapsed", "left"),
    [
        (1, 0, 2, 59.6, "left 1:00"),
        (5, 0, 5, 100.0, "left 0:00"),
        (11, 10, 13, 30.0, "left 1:00"),  # resumed: the pace is that of the epochs since
        (1, 0, 1001, 3.6, "left 60:00"),
    ],
)
def test_the_time_left_follows_the_pace_of_this_fit(
    epoch: int, first: int, last: int, elapsed: float, left: str
) -> None:
    assert line({}, epoch, 1.0, elapsed, first, last).endswith(left)


def test_without_an_end_there_is_no_time_left() -> None:
    assert line({"train/loss": 1.0}, 4, 2.0, 8.0, 0, -1) == "epoch 4  train/loss 1.0000  2.0 s"


def test_speed_stands_between_the_seconds_and_the_time_left() -> None:
    text = line({"train/loss": 1.0}, 1, 2.0, 2.0, 0, 2, "61.2 samples/s  812 MB")
    assert text == "epoch 1/2  train/loss 1.0000  2.0 s  61.2 samples/s  812 MB  left 0:02"


def test_the_line_waits_for_what_the_task_logs_and_is_said_once_by_one_rank(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter([0.0, 0.0, 2.0, 2.0, 5.0])
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: next(now)))
    caplog.set_level(logging.INFO, logger="medexp")
    trainer: Any = SimpleNamespace(
        current_epoch=0, max_epochs=2, is_global_zero=True, callback_metrics={}, callbacks=[]
    )
    module: Any = None
    lines = EpochLines()
    lines.on_train_start(trainer, module)
    lines.on_train_epoch_start(trainer, module)
    lines.on_train_epoch_end(trainer, module)
    trainer.callback_metrics = {"train/loss": torch.tensor(0.5), "lr": torch.tensor(0.1)}
    trainer.current_epoch = 1
    lines.on_train_epoch_start(trainer, module)
    lines.on_train_epoch_end(trainer, module)
    trainer.is_global_zero = False
    lines.on_train_end(trainer, module)
    lines.on_train_end(trainer, module)
    assert caplog.messages == ["epoch 1/2  train/loss 0.5000  2.0 s  left 0:02"]


def test_the_bar_is_drawn_when_its_time_has_come_and_at_the_last_step(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []
    now = [10.0]
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(RichProgressBar, "on_train_batch_end", lambda self, *args: drawn.append(args[-1]))
    bar, module = Bar(), torch.nn.Identity()
    for index in range(10):
        now[0] += 0.04
        trainer: Any = SimpleNamespace(is_last_batch=index == 9)
        bar.on_train_batch_end(trainer, module, None, None, index)  # type: ignore[arg-type]
    assert drawn == [0, 3, 6, 9]


def test_the_time_left_of_a_resumed_run_counts_its_own_epochs_only(make: Any, fit: Any, tmp_path: Path) -> None:
    fit(make(), [], epochs=3).save_checkpoint(tmp_path / "a.ckpt")
    lines = EpochLines()
    fit(make(), [lines], epochs=4, resume=tmp_path / "a.ckpt")
    assert lines._first == 3
