"""Results: what evaluation and prediction ask of each kind of result."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from medexp.data.images import suffix
from medexp.data.module import DataModule
from medexp.data.records import Record
from medexp.errors import UserError
from medexp.run import folder
from medexp.run.inference import Outcome, infer
from medexp.tasks.base import Task

log = logging.getLogger(__name__)


class Results(ABC):
    """Of one run's config and data set."""

    def __init__(self, cfg: dict[str, Any], data: DataModule) -> None:
        self.cfg, self.data = cfg, data

    def begin(self, records: Sequence[Record], figures: Path) -> int:
        """Before an evaluation of these: the number of rows that will come. figures: folder for pictures."""
        self.figures, self.count = figures, len(records)
        return len(records)

    def rows(self, task: Task, records: Sequence[Record], scorer: Any) -> list[dict[str, Any]]:
        """Of per_case.csv, `case_id` first: each case through the network, then scored and perhaps drawn."""
        rows: list[dict[str, Any]] = []

        def receive(outcome: Outcome) -> None:
            scored = self.row(outcome, scorer)
            if scored is not None:
                case_id, row = scored
                rows.append({"case_id": case_id, **row})
                self.draw(outcome, row)

        infer(self.cfg, task, self.data, records, receive, labelled=True)
        return rows

    def summary(self, rows: Sequence[dict[str, Any]], scorer: Any) -> dict[str, Any]:
        """`metrics` of summary.json."""
        summary: dict[str, Any] = scorer.summarize([{k: v for k, v in row.items() if k != "case_id"} for row in rows])
        return summary

    @abstractmethod
    def row(self, outcome: Outcome, scorer: Any) -> tuple[str, dict[str, Any]] | None:
        """Case id and row of per_case.csv, from a scorer (`metrics.test`); None where more outcomes must come first."""

    @abstractmethod
    def draw(self, outcome: Outcome, row: dict[str, Any]) -> None:
        """Takes a case for the figures, or leaves it."""

    @abstractmethod
    def finish(self, rows: list[dict[str, Any]]) -> None:
        """After the last row: writes the figures that need all."""

    @abstractmethod
    def outputs(self, records: Sequence[Record], output: Path) -> dict[str, Path]:
        """File that each case's prediction goes to. Raises UserError before anything is written: no input, and no
        foreign file, is lost."""

    @abstractmethod
    def write(self, task: Task, records: Sequence[Record], paths: dict[str, Path]) -> Path | None:
        """Predicts, and writes what came out to these files. Returns the file where it is one for all."""


class Tabular(Results):
    """Predictions as rows of one table. first: its first columns, by which one of ours is known."""

    kind: ClassVar[str]  # of the model, in words
    first: str

    @abstractmethod
    def predicted(self, outcome: Outcome) -> dict[str, Any]:
        """Columns of a case in predictions.csv, without `case_id`."""

    def outputs(self, records: Sequence[Record], output: Path) -> dict[str, Path]:
        path = output if output.suffix == ".csv" else output / "predictions.csv"
        if suffix(output):
            raise UserError(f"--output: {output} is an image; this model {self.kind}: give FILE.csv or a folder")
        if path.is_file() and not path.read_text(encoding="utf-8", errors="replace").startswith(self.first):
            raise UserError(f"--output: {path} is there and no table of predictions; give another file")
        return {record.case_id: path for record in records}

    def write(self, task: Task, records: Sequence[Record], paths: dict[str, Path]) -> Path:
        rows: list[dict[str, Any]] = []

        def receive(outcome: Outcome) -> None:
            rows.append({"case_id": outcome.record.case_id, **self.predicted(outcome)})

        path = next(iter(paths.values()))
        try:
            infer(self.cfg, task, self.data, records, receive, labelled=False)
        finally:  # one unreadable image does not cost the others
            if rows:
                folder.write(path, pd.DataFrame(rows).to_csv(index=False))
                log.info("%s", path)
        return path
