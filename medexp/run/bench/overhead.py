"""What a training step costs beside the network: the bare loop, medexp as `medexp train` builds it, and Lightning as usual."""

from __future__ import annotations

import statistics
import tempfile
import time
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from monai.inferers import SimpleInferer
from pytorch_lightning.callbacks import LearningRateMonitor, TQDMProgressBar
from pytorch_lightning.loggers import CSVLogger
from torch import Tensor, nn
from torch.optim.lr_scheduler import ConstantLR
from torch.utils.data import DataLoader, Dataset

from medexp import build
from medexp.config import compose
from medexp.losses.cross_entropy import CrossEntropy
from medexp.optim.schedule import Schedule
from medexp.run.quiet import quiet
from medexp.tasks.classification import Classification

CLIP = 1.0  # gradient norm, in all three
CLASSES, BATCH = 3, 2


def overhead(rounds: int, steps: int = 200) -> dict[str, Any]:
    """Milliseconds a step of a tiny net: medians over interleaved rounds, what each adds to the bare loop, and the ratio.

    {"milliseconds": {name: median}, "spread": {name: [least, most]}, "added": {name: median}, "ratio": medexp's addition
    over that of Lightning with the usual logging}. Rounds are paired: what is added is the median of their differences.
    """
    contestants = {"bare loop": _bare, "medexp": _medexp, "Lightning, self.log": _usual}
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    with quiet(), tempfile.TemporaryDirectory() as folder:
        for number in range(rounds + 1):
            for name, contestant in contestants.items():
                torch.manual_seed(0)
                seconds = contestant(_net(), steps, Path(folder) / f"{name}{number}")
                if number:  # the first round warms caches and does not count
                    taken[name].append(seconds / steps * 1e3)
    bare = taken.pop("bare loop")
    added = {name: _median_difference(times, bare) for name, times in taken.items()}
    taken = {"bare loop": bare, **taken}
    return {
        "milliseconds": {name: statistics.median(times) for name, times in taken.items()},
        "spread": {name: [min(times), max(times)] for name, times in taken.items()},
        "added": added,
        "ratio": added["medexp"] / added["Lightning, self.log"],
    }


def _median_difference(times: list[float], bare: list[float]) -> float:
    return statistics.median(time - base for time, base in zip(times, bare, strict=True))


def _net() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, CLASSES))


class _Same(Dataset[dict[str, Any]]):
    """One batch, again and again: no data path takes part."""

    def __init__(self, steps: int) -> None:
        self.steps, generator = steps, torch.Generator().manual_seed(0)
        self.batch: dict[str, Any] = {
            "image": torch.randn(BATCH, 1, 8, 8, generator=generator),
            "target": torch.arange(BATCH)[:, None] % CLASSES,
            "case_id": [str(index) for index in range(BATCH)],
        }

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.batch


def _loader(steps: int) -> DataLoader[dict[str, Any]]:
    return DataLoader(_Same(steps), batch_size=None, num_workers=0)


def _bare(net: nn.Module, steps: int, folder: Path) -> float:
    optimizer, loss = torch.optim.AdamW(net.parameters(), lr=1e-3), CrossEntropy()
    losses = []
    begun = time.perf_counter()
    for batch in _loader(steps):
        optimizer.zero_grad()
        value = loss(net(batch["image"]), batch["target"])
        value.backward()
        nn.utils.clip_grad_norm_(net.parameters(), CLIP)
        optimizer.step()
        losses.append(value.detach())
    torch.stack(losses).mean().item()
    return time.perf_counter() - begun


class _Clock(pl.Callback):
    """Seconds of the epoch's steps: no start of fit, no checkpoint."""

    seconds = begun = 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.begun = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.seconds = time.perf_counter() - self.begun


def _timed(trainer: pl.Trainer, task: pl.LightningModule, steps: int) -> float:
    clock = _Clock()
    trainer.callbacks.append(clock)  # type: ignore[attr-defined]  # set by a connector
    validation = _loader(1) if isinstance(task, Classification) else None  # a task that could validate is asked to
    trainer.fit(task, _loader(steps), validation)
    return clock.seconds


def _medexp(net: nn.Module, steps: int, folder: Path) -> float:
    """The Trainer of `medexp train`: its callbacks, loggers and options; a task with the default optimizer."""
    words = ["task=classification", "loss=cross_entropy", "dataset=phantom_presence_2d", "trainer.max_epochs=1"]
    words += ["trainer.limit_val_batches=0"]
    cfg = compose.resolve(compose.compose([*words, f"run_dir={folder}", "monitor=train/loss", "mode=min"]))
    task = Classification(
        net=net, loss=CrossEntropy(), optimizer=partial(torch.optim.AdamW, lr=1e-3), metrics={}, out_channels=CLASSES,
        scheduler=Schedule(partial(ConstantLR, factor=1.0)), inferer=SimpleInferer(), monitor="train/loss", mode="min",
    )  # fmt: skip
    return _timed(build.trainer(cfg), task, steps)


class _Usual(pl.LightningModule):
    """A module as tutorials write it: loss and accuracy logged in every step, shown in the progress bar."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.loss = net, CrossEntropy()

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        scores = self.net(batch["image"])
        loss: Tensor = self.loss(scores, batch["target"])
        accuracy = (scores.argmax(dim=1) == batch["target"].squeeze(1)).float().mean()
        self.log("train/loss", loss, on_step=True, on_epoch=True, prog_bar=True, batch_size=BATCH)
        self.log("train/accuracy", accuracy, on_step=True, on_epoch=True, prog_bar=True, batch_size=BATCH)
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


def _usual(net: nn.Module, steps: int, folder: Path) -> float:
    trainer = pl.Trainer(
        accelerator="cpu", devices=1, max_epochs=1, gradient_clip_val=CLIP, log_every_n_steps=10,
        logger=CSVLogger(str(folder), name="", version=""), enable_checkpointing=False, enable_model_summary=False,
        callbacks=[TQDMProgressBar(), LearningRateMonitor()],
    )  # fmt: skip
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):  # what a terminal costs is not counted
        return _timed(trainer, _Usual(net), steps)
