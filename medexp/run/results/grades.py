"""Grades of images: as classes, of which the median one is predicted."""

from __future__ import annotations

from typing import Any

from medexp.metrics.ordinal import median_grade
from medexp.run.inference import Outcome
from medexp.run.results.classes import Classes


class Grades(Classes):
    """One of several ordered classes an image."""

    kind = "grades"

    def predicted(self, outcome: Outcome) -> dict[str, Any]:
        return {**super().predicted(outcome), "prediction": self.data.classes[int(median_grade(outcome.probabilities))]}
