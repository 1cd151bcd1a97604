"""Classes of images: probabilities in a table, a sheet of cases, a confusion matrix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from medexp.run.figures import Tiles, confusion, save
from medexp.run.inference import Outcome
from medexp.run.results.base import Tabular


class Classes(Tabular):
    """One class an image, a yes or no, or several labels."""

    kind, first = "classifies", "case_id,prediction"

    def begin(self, records: Any, figures: Path) -> int:
        self.tiles = Tiles(self.cfg["figures"], len(records))
        return super().begin(records, figures)

    def row(self, outcome: Outcome, scorer: Any) -> tuple[str, dict[str, Any]]:
        assert outcome.target is not None
        return outcome.record.case_id, scorer.case(outcome.probabilities.numpy(), outcome.target.numpy(), ())

    def draw(self, outcome: Outcome, row: dict[str, Any]) -> None:
        colour = "tab:green" if row.get("correct") else "tab:red"
        self.tiles.add(outcome, f"{row['label']} → {row['prediction']}{self._sure(outcome, row)}", colour)

    def _sure(self, outcome: Outcome, row: dict[str, Any]) -> str:
        """The probability of the predicted class; of several labels each has one, and the table of cases holds them."""
        if self.data.target == "multilabel":
            return ""
        chances = dict(zip(map(str, self.data.classes), self._chances(outcome), strict=True))
        return f" ({chances[row['prediction']]:.2f})"

    def _chances(self, outcome: Outcome) -> list[float]:
        """Probabilities, one a class."""
        values: list[float] = outcome.probabilities.tolist()
        return [1 - values[0], values[0]] if self.data.target == "binary" else values

    def finish(self, rows: list[dict[str, Any]]) -> None:
        sure = "" if self.data.target == "multilabel" else " (its probability)"
        self.tiles.save(self.figures / "cases.png", f"label → prediction{sure}")
        classes = self.data.classes
        if self.cfg["figures"] and rows and all(str(row["label"]) in classes for row in rows):
            save(confusion(rows, classes), self.figures / "confusion_matrix.png")

    def predicted(self, outcome: Outcome) -> dict[str, Any]:
        values, classes = self._chances(outcome), self.data.classes
        chances = {f"prob_{name}": round(value, 6) for name, value in zip(classes, values, strict=True)}
        if self.data.target == "multilabel":
            chosen = ";".join(name for name, value in zip(classes, values, strict=True) if value >= 0.5)
        else:
            chosen = classes[int(np.argmax(values))]
        return {"prediction": chosen, **chances}
