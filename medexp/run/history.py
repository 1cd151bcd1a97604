"""metrics.csv of a run that goes on: Lightning's CSVLogger starts the file anew, the rows from before are put back."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.loggers import CSVLogger


def keep(loggers: list[Any], checkpoint: Path) -> None:
    """Puts back the rows up to the checkpoint's epoch; later ones are of an epoch that is trained again."""
    last = int(torch.load(checkpoint, map_location="cpu", weights_only=True)["epoch"])
    for logger in loggers:
        if isinstance(logger, CSVLogger):
            rows = _rows(Path(logger.log_dir) / "metrics.csv", last)
            logger.experiment.metrics.extend(rows)  # the writer deletes the file when it is made, here
            logger.save()


def _rows(path: Path, last: int) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows = [{key: cell for key, cell in row.items() if cell} for row in csv.DictReader(file)]
    return [row for row in rows if row.get("epoch", "").isdigit() and int(row["epoch"]) <= last]
