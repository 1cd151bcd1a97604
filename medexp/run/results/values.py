"""Measures of images: a table with a column a target, predictions against labels, Bland-Altman plots, a sheet of cases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medexp.data.module import DataModule
from medexp.metrics.table import column_names
from medexp.run import value_figures
from medexp.run.figures import Tiles, save
from medexp.run.inference import Outcome
from medexp.run.results.base import Tabular
from medexp.targets import unit


class Values(Tabular):
    """Numbers in their own unit."""

    kind = "predicts measures"

    def __init__(self, cfg: dict[str, Any], data: DataModule) -> None:
        super().__init__(cfg, data)
        columns, units = column_names(list(data.targets)), [unit(entry) or "" for entry in data.targets.values()]
        self.targets = dict(zip(data.targets, zip(columns, units, strict=True), strict=True))
        self.titles = [f"{name} ({unit})" if unit else name for name, unit in zip(columns, units, strict=True)]
        self.first = f"case_id,{self.titles[0]}"

    def begin(self, records: Any, figures: Path) -> int:
        self.tiles = Tiles(self.cfg["figures"], len(records))
        return super().begin(records, figures)

    def row(self, outcome: Outcome, scorer: Any) -> tuple[str, dict[str, Any]]:
        assert outcome.target is not None
        return outcome.record.case_id, scorer.case(outcome.probabilities.numpy(), outcome.target.numpy(), ())

    def draw(self, outcome: Outcome, row: dict[str, Any]) -> None:
        lines = [
            f"{row[f'label_{column}']:.3g} → {row[f'prediction_{column}']:.3g} {unit}".strip()
            for column, unit in self.targets.values()
        ]
        self.tiles.add(outcome, "\n".join(lines), "black")

    def finish(self, rows: list[dict[str, Any]]) -> None:
        self.tiles.save(self.figures / "cases.png")
        if self.cfg["figures"] and rows:
            save(value_figures.against_identity(rows, self.targets), self.figures / "prediction_over_label.png")
            save(value_figures.bland_altman(rows, self.targets), self.figures / "bland_altman.png")

    def predicted(self, outcome: Outcome) -> dict[str, Any]:
        return {
            title: round(value, 6) for title, value in zip(self.titles, outcome.probabilities[0].tolist(), strict=True)
        }
