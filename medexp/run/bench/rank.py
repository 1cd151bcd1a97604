"""`python -m medexp.run.bench.rank FOLDER`: trains what FOLDER/config.json says and notes seconds and loss of each step."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from medexp import build
from medexp.run.folder import read_json, write_json
from medexp.run.quiet import quiet

CASES = 24  # so that one process and two share the batches of an epoch alike


class Notes(pl.Callback):
    """Seconds from the end of one step to the end of the next, data included, and this rank's losses."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ended = 0.0
        self.seconds: list[float] = []
        self.losses: list[float] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.ended = time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = time.perf_counter()
        self.seconds.append(now - self.ended)
        self.losses.append(float(outputs["loss"]))
        self.ended = now

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        found = {"seconds": self.seconds, "losses": self.losses}
        write_json(self.folder / f"rank{trainer.global_rank}.json", found)


def main(folder: Path) -> None:
    cfg = read_json(folder / "config.json")
    with quiet():
        trainer: Any = build.trainer(cfg)
        trainer.callbacks.append(Notes(folder))
        data = build.datamodule(cfg)
        cases = [record.case_id for record in data.records()][:CASES]
        data.split = {"train": cases, "val": [], "test": []}
        data.setup()
        trainer.fit(build.task(cfg, data), datamodule=data)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
