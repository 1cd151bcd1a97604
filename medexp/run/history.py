"""metrics.csv of a run that goes on: the rows of before its checkpoint stay, later ones go."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import CSVLogger

from medexp.callbacks.checkpoint_file import read
from medexp.callbacks.metrics_file import MetricsFile


def keep(loggers: list[Any], checkpoint: Path) -> None:
    """Leaves the rows of before the checkpoint; later ones are of steps that are trained again."""
    written = read(checkpoint)
    loops = written["loops"]["fit_loop"]
    done = loops["epoch_progress"]["current"]["processed"]
    # A validation that is to be run again logs at the step of the last batch, as it may have done before.
    again = loops["epoch_loop.val_loop.batch_progress"]["total"]
    steps = written["global_step"] - (again["started"] > again["processed"])
    for logger in loggers:
        if isinstance(logger, MetricsFile):
            logger.experiment.put(_rows(Path(logger.log_dir) / "metrics.csv", done, steps))
        elif isinstance(logger, CSVLogger):
            rows = _rows(Path(logger.log_dir) / "metrics.csv", done, steps)
            logger.experiment.metrics.extend(rows)  # the writer deletes the file when it is made, here
            logger.save()


def _rows(path: Path, done: int, steps: int) -> list[dict[str, Any]]:
    """Rows of epochs that were `done`, and of the `steps` (of all epochs) that were."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows = [{key: cell for key, cell in row.items() if cell} for row in csv.DictReader(file)]
    whole = [row for row in rows if row.get("epoch", "").isdigit() and row.get("step", "").isdigit()]
    return [
        row for row in whole if int(row["epoch"]) < done or (int(row["epoch"]) == done and int(row["step"]) < steps)
    ]
