"""A label map and a row of a table a case: what a network with several heads says."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medexp.data.records import Record
from medexp.errors import UserError
from medexp.metrics.table import column_names
from medexp.run import folder, value_figures
from medexp.run.figures import save
from medexp.run.inference import Outcome, infer
from medexp.run.results.files import save_image
from medexp.run.results.maps import Maps
from medexp.targets import unit, width
from medexp.tasks.base import Task

log = logging.getLogger(__name__)
TABLE = "predictions.csv"


class Heads(Maps):
    """Label maps, measures and classes."""

    def row(self, outcome: Outcome, scorer: Any) -> tuple[str, dict[str, Any]]:
        assert outcome.target is not None
        self.mapped, said = self._parted(outcome)
        maps = self._maps(self.mapped)
        scored = scorer.case((maps[0], said), (maps[1], outcome.target.numpy()), outcome.prepared.source.spacing)
        return outcome.record.case_id, scored

    def _parted(self, outcome: Outcome) -> tuple[Outcome, np.ndarray[Any, Any]]:
        """The outcome with its class maps, and what the heads say, (N,)."""
        scores, count = outcome.probabilities, len(self.data.classes)  # (K + N, *spatial)
        labels = self.data.preparation.labels_on_source(scores[:count], outcome.prepared)
        chosen = scores[:count].argmax(dim=0).numpy()
        return replace(outcome, labels=labels, predicted=chosen), scores[count:].flatten(1)[:, 0].numpy()

    def draw(self, outcome: Outcome, row: dict[str, Any]) -> None:
        super().draw(self.mapped, row)

    def finish(self, rows: list[dict[str, Any]]) -> None:
        super().finish(rows)
        names = column_names(list(self.data.targets))
        for name, column, entry in zip(self.data.targets, names, self.data.targets.values(), strict=True):
            own = unit(entry)
            if own is not None and rows and self.cfg["figures"]:
                start = f"{column}_"
                cells = [{key.removeprefix(start): cell for key, cell in row.items()} for row in rows]
                panel = {name: ("value", own)}
                save(value_figures.against_identity(cells, panel), self.figures / f"{column}_over_label.png")
                save(value_figures.bland_altman(cells, panel), self.figures / f"{column}_bland_altman.png")

    def outputs(self, records: Sequence[Record], output: Path) -> dict[str, Path]:
        paths = super().outputs(records, output)
        table = next(iter(paths.values())).parent / TABLE
        first = f"case_id,{next(iter(self._columns(np.zeros(self._width))))}"
        if table.is_file() and not table.read_text(encoding="utf-8", errors="replace").startswith(first):
            raise UserError(f"--output: {table} is there and no table of predictions; give another folder")
        return paths

    def write(self, task: Task, records: Sequence[Record], paths: dict[str, Path]) -> None:
        rows: list[dict[str, Any]] = []

        def receive(outcome: Outcome) -> None:
            mapped, said = self._parted(outcome)
            assert mapped.labels is not None
            path = paths[outcome.record.case_id]
            save_image(mapped.labels, outcome.record.files[0], path, outcome.prepared.source.affine)
            log.info("%s", path)
            rows.append({"case_id": outcome.record.case_id, **self._columns(said)})

        table = next(iter(paths.values())).parent / TABLE
        try:
            infer(self.cfg, task, self.data, records, receive, labelled=False)
        finally:  # one unreadable image does not cost the others
            if rows:
                folder.write(table, pd.DataFrame(rows).to_csv(index=False))
                log.info("%s", table)

    @property
    def _width(self) -> int:
        return sum(2 if unit(entry) is not None else width(entry) for entry in self.data.targets.values())

    def _columns(self, said: np.ndarray[Any, Any]) -> dict[str, Any]:
        """Columns of a case in the table: a number with its unit, a class with the probabilities of all."""
        found: dict[str, Any] = {}
        rest = said.tolist()
        for name, entry in self.data.targets.items():
            own = unit(entry)
            if own is not None:
                found[f"{name} ({own})" if own else name] = round(rest[0], 6)
                rest = rest[2:]  # the second is what the mean predictor says
                continue
            chances, rest = rest[: width(entry)], rest[width(entry) :]
            chances = [1 - chances[0], chances[0]] if len(chances) == 1 else chances
            found[name] = str(entry[int(np.argmax(chances))])
            found |= {f"prob_{name}_{one}": round(chance, 6) for one, chance in zip(entry, chances, strict=True)}
        return found
