"""metrics.csv, whole at whatever moment the process is killed."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning_fabric.loggers.logger import rank_zero_experiment
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.loggers.csv_logs import ExperimentWriter


class Writer(ExperimentWriter):
    """Lightning's, which adds rows at the end; where it would delete or empty the file first, the new one is written
    beside it and renamed, so that no row of before a checkpoint is lost in between."""

    def _check_log_dir_exists(self) -> None:
        """Of a run that goes on the rows are still needed (`put`); Lightning deletes them here."""

    def put(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """These rows in the place of all that the file holds."""
        self.metrics_keys = sorted({key for row in rows for key in row})
        self._replace(rows)

    def save(self) -> None:
        if self.metrics and not self.metrics_keys:  # the first rows of a new run: none of another stay
            Path(self.metrics_file_path).unlink(missing_ok=True)
        super().save()

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        with open(self.metrics_file_path, newline="", encoding="utf-8") as file:
            self._replace(list(csv.DictReader(file)))

    def _replace(self, rows: Sequence[Mapping[str, Any]]) -> None:
        path = Path(self.metrics_file_path)
        part = path.with_name(f".{path.name}.part")
        with part.open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, fieldnames=self.metrics_keys)
            table.writeheader()
            table.writerows(rows)
        os.replace(part, path)


class MetricsFile(CSVLogger):
    """Lightning's CSVLogger with that writer."""

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        if self._experiment is None:
            Path(self.log_dir).mkdir(parents=True, exist_ok=True)
            self._experiment = Writer(self.log_dir)
        return self._experiment
