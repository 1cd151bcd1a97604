"""Values of the next frames: a table, how far they lie from what came, and how some studies go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medexp.run.figures import Chosen, save
from medexp.run.inference import Outcome
from medexp.run.results.base import Tabular
from medexp.run.sequence_figures import Course, against_target, courses


class NextValues(Tabular):
    """A value a horizon."""

    kind, first = "predicts values", "case_id,next_1"

    def begin(self, records: Any, figures: Path) -> int:
        self.chosen, self.courses = Chosen(self.cfg["figures"], len(records)), list[Course]()
        return super().begin(records, figures)

    def row(self, outcome: Outcome, scorer: Any) -> tuple[str, dict[str, Any]]:
        assert outcome.target is not None
        last = float(outcome.record.target[-len(outcome.target) - 1])
        row = scorer.case(outcome.probabilities.numpy(), outcome.target.numpy(), last)
        return outcome.record.case_id, row

    def draw(self, outcome: Outcome, row: dict[str, Any]) -> None:
        if self.chosen.next():
            values = [float(value) for value in outcome.record.target]
            times = outcome.record.times or tuple(float(index) for index in range(len(values)))
            predicted = outcome.probabilities.tolist()
            self.courses.append(Course(outcome.record.case_id, times, values, predicted))

    def finish(self, rows: list[dict[str, Any]]) -> None:
        if self.courses and rows:
            save(courses(self.courses), self.figures / "courses.png")
            save(against_target(rows), self.figures / "predicted_values.png")

    def predicted(self, outcome: Outcome) -> dict[str, Any]:
        values = outcome.probabilities.tolist()
        return {f"next_{ahead}": round(value, 6) for ahead, value in enumerate(values, start=1)}
