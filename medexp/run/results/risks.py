"""Risks and survival: a table of probabilities at the horizons, Kaplan-Meier curves by risk group, a sheet of cases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medexp.metrics.censoring import logrank
from medexp.metrics.forecast import unpack
from medexp.metrics.survival import HIGH, LOW, SURVIVAL, group_of
from medexp.run import survival_figures
from medexp.run.figures import Tiles, save
from medexp.run.inference import Outcome
from medexp.run.results.base import Tabular


class Risks(Tabular):
    """How soon an event comes."""

    kind, first = "predicts risks", "case_id,risk"

    def begin(self, records: Any, figures: Path) -> int:
        self.tiles = Tiles(self.cfg["figures"], len(records))
        return super().begin(records, figures)

    def row(self, outcome: Outcome, scorer: Any) -> tuple[str, dict[str, Any]]:
        assert outcome.target is not None
        return outcome.record.case_id, scorer.case(outcome.probabilities.numpy(), outcome.target.numpy(), ())

    def draw(self, outcome: Outcome, row: dict[str, Any]) -> None:
        fate = "event" if row["event"] else "censored"
        self.tiles.add(outcome, f"{fate} at {row['time']:g}; {row['group']} risk {row['risk']:.2f}", "black")

    def finish(self, rows: list[dict[str, Any]]) -> None:
        self.tiles.save(self.figures / "cases.png")
        if self.cfg["figures"] and rows:
            p_value = logrank(group_of(rows, HIGH), group_of(rows, LOW))
            save(survival_figures.groups(rows, p_value), self.figures / "risk_groups.png")
            save(survival_figures.calibration(rows), self.figures / "survival_curves.png")

    def predicted(self, outcome: Outcome) -> dict[str, Any]:
        found = unpack(outcome.probabilities.numpy())
        chances = {f"{SURVIVAL}{t:g}": round(float(p), 6) for t, p in zip(found.horizons, found.survival, strict=True)}
        return {"risk": round(found.risk, 6), "group": HIGH if found.high else LOW, **chances}
