"""Scores of grades: those of classes, and how far off a grade is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics.classification import MulticlassCohenKappa
from torchmetrics.functional.classification import multiclass_cohen_kappa

from medexp.metrics.classification import CONSTANT, ClassificationScores
from medexp.metrics.table import Row, describe


def median_grade(probabilities: Tensor) -> Tensor:
    """(..., K) to (...), int64: how many grades are exceeded with a probability above one half. No other grade is expected to
    be off by less."""
    return (1 - probabilities.cumsum(dim=-1)[..., :-1] > 0.5).sum(dim=-1)


class QuadraticKappa(MulticlassCohenKappa):
    """Agreement beyond chance where a disagreement counts by its square (Cohen 1968, doi:10.1037/h0026256); 0, that of
    chance, where labels and grades are all one, which has no value of its own."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes, weights="quadratic")

    def compute(self) -> Tensor:
        return super().compute().nan_to_num(0.0)


class OrdinalScores(ClassificationScores):
    """Scores probabilities of ordered classes, lowest first. Columns as of classes; `prediction` is the median grade, and
    `grades_off` its distance from the label."""

    def __init__(self, classes: Sequence[str]) -> None:
        super().__init__(classes, mode="index")

    def case(self, prediction: np.ndarray, target: np.ndarray, spacing: tuple[float, ...] = ()) -> Row:
        """One row, see ClassificationScores."""
        row = super().case(prediction, target, spacing)
        said, real = int(median_grade(torch.as_tensor(prediction))), int(target[0])
        return row | {"prediction": self.classes[said], "correct": int(said == real), "grades_off": abs(said - real)}

    def summarize(self, rows: list[Row]) -> dict[str, Any]:
        """Those of classes, with `mae`, the mean distance in grades, and `quadratic_kappa`: agreement beyond chance where a
        disagreement counts by its square (Cohen 1968, doi:10.1037/h0026256). `<metric>_median_predictor`: of what predicts
        the median grade of these very cases for each."""
        result = {"mae": describe([row["grades_off"] for row in rows], "no cases")}
        labels, said = (
            torch.tensor([self.classes.index(str(row[key])) for row in rows]).long() for key in ("label", "prediction")
        )
        usual = labels.median() if len(rows) else 0
        result["mae_median_predictor"] = describe((labels - usual).abs().tolist(), "no cases")
        kappa: dict[str, Any] = {"mean": self._kappa(said, labels), "std": None, "n": len(rows)}
        result["quadratic_kappa"] = kappa if kappa["mean"] is not None else kappa | {"reason": CONSTANT}
        return result | super().summarize(rows)

    def _kappa(self, said: Tensor, labels: Tensor) -> float | None:
        if len(torch.cat([said, labels]).unique()) < 2:
            return None
        return float(multiclass_cohen_kappa(said, labels, len(self.classes), weights="quadratic"))
