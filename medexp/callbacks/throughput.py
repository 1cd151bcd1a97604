"""How fast an epoch went: samples a second, the share of time that steps waited for data, peak memory."""

from __future__ import annotations

import contextlib
import csv
import logging
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.profilers import Profiler

from medexp.performance import peak_memory

log = logging.getLogger(__name__)
COLUMNS = ("epoch", "samples_per_second", "data_wait", "peak_memory_mb", "seconds")
LOGGED = COLUMNS[1:4]


class Waits(Profiler):
    """Lightning's profiler of one thing, the time in which training waits for its next batch.

    It takes the place of Lightning's PassThroughProfiler, which makes a generator for each of 40 actions a step.
    """

    _nothing = contextlib.nullcontext()

    def __init__(self) -> None:
        super().__init__()
        self.seconds = self._begun = 0.0

    def start(self, action_name: str) -> None:
        if action_name.endswith(".train_dataloader_next"):
            self._begun = time.perf_counter()

    def stop(self, action_name: str) -> None:
        if action_name.endswith(".train_dataloader_next"):
            self.seconds += time.perf_counter() - self._begun

    def profile(self, action_name: str) -> Any:
        return self._nothing


class Throughput(pl.Callback):
    """Writes a row an epoch to `path` and tells the epoch's line and all loggers but CSV: metrics.csv holds what the same
    command gives again, and no times.

    samples_per_second: of all ranks, over the time of training steps (validation is left out). data_wait: share of that
    time in which the first rank waited for a batch; empty where another profiler was chosen. peak_memory_mb: so far.
    """

    def __init__(self, path: str | None = None) -> None:
        self.path = None if path is None else Path(path)
        self.last: dict[str, Any] | None = None  # the row of the epoch before
        self._samples = 0
        self._begun = self._paused = self._ended = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            workers = getattr(getattr(trainer, "datamodule", None), "num_workers", 0)
            log.info(
                "training in %s on %d x %s; %d threads and %d loader workers each",
                *(trainer.precision, trainer.world_size, pl_module.device.type, torch.get_num_threads(), workers),
            )
            if self.path is not None:
                _keep(self.path, trainer.current_epoch)
        self._start(trainer)  # an epoch that is gone on with has no start of its own

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._start(trainer)

    def _start(self, trainer: pl.Trainer) -> None:
        self._samples = 0
        self._begun = self._ended = time.perf_counter()
        if (waits := _waits(trainer)) is not None:
            waits.seconds = 0.0

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._samples += len(batch["image"])
        if trainer.is_last_batch and pl_module.device.type == "cuda":
            torch.cuda.synchronize(pl_module.device)  # once an epoch: what was asked for is done
        self._ended = time.perf_counter()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._paused = time.perf_counter()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.is_last_batch:  # within an epoch: what follows is measured as if it had not been
            self._begun += time.perf_counter() - self._paused

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.is_global_zero or not self._samples:
            return
        self.last = row = self._row(trainer, pl_module.device)
        values = {f"speed/{name}": value for name, value in row.items() if name in LOGGED and value is not None}
        for logger in trainer.loggers:
            if not isinstance(logger, CSVLogger):
                logger.log_metrics(values, trainer.global_step)
        if self.path is not None:
            _append(self.path, row)

    def _row(self, trainer: pl.Trainer, device: torch.device) -> dict[str, Any]:
        seconds = max(self._ended - self._begun, 1e-9)
        waits = _waits(trainer)
        return {
            "epoch": trainer.current_epoch,
            "samples_per_second": round(self._samples * trainer.world_size / seconds, 2),
            "data_wait": None if waits is None else round(min(waits.seconds / seconds, 1.0), 4),
            "peak_memory_mb": round(peak_memory(device) / 1e6),
            "seconds": round(seconds, 3),
        }


def _waits(trainer: pl.Trainer) -> Waits | None:
    profiler = trainer.profiler  # type: ignore[attr-defined]  # set by a connector
    return profiler if isinstance(profiler, Waits) else None


def _keep(path: Path, epoch: int) -> None:
    """Leaves the rows of the epochs before `epoch`: later ones are trained again."""
    rows = []
    if path.is_file():
        with path.open(newline="", encoding="utf-8") as file:
            rows = [
                row for row in csv.DictReader(file) if str(row.get("epoch")).isdigit() and int(row["epoch"]) < epoch
            ]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def _append(path: Path, row: dict[str, Any]) -> None:
    with path.open("a", newline="", encoding="utf-8") as file:
        csv.DictWriter(file, COLUMNS).writerow(row)


def spell(row: dict[str, Any]) -> str:
    """`61.2 samples/s  data 0.3 %  812 MB`."""
    waits = "" if row["data_wait"] is None else f"data {row['data_wait']:.1%}".replace("%", " %") + "  "
    return f"{row['samples_per_second']:.1f} samples/s  {waits}{row['peak_memory_mb']} MB"
