"""Each class against the rest: the metrics that classes, a yes or no, and several labels have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torchmetrics.functional.classification import (
    binary_average_precision,
    binary_f1_score,
    binary_precision,
    binary_recall,
    binary_sensitivity_at_specificity,
    binary_specificity,
)

from medexp.metrics.auroc import present_auroc
from medexp.metrics.table import mean

Values = list[float | None]
SPECIFICITY = 0.95  # at which sensitivity is told for what is rare: a false alarm in 20
POSITIVES, NEGATIVES = "no case has it", "every case has it"


class Columns:
    """Probabilities, truth and decisions (N, K) of 0 and 1, a column a class.

    exclusive: an image has exactly one of the classes, so a class that no case has is left out of specificity too.
    """

    def __init__(
        self, names: Sequence[str], probabilities: Tensor, truth: Tensor, said: Tensor, exclusive: bool
    ) -> None:
        self.names, self.probabilities, self.truth, self.said = list(names), probabilities.clamp(0, 1), truth, said
        self.exclusive, self.cases = exclusive, len(truth)
        self.positives = [int(count) for count in truth.sum(0)]
        self.negatives = [self.cases - count for count in self.positives]

    def scores(self) -> dict[str, Any]:
        """balanced_accuracy, precision, recall, specificity, f1, auroc and average_precision; unless the classes exclude
        each other also sensitivity_at_95_specificity, the largest that leaves at least 95 % of the negatives in peace."""
        columns = list(zip(self.said.unbind(1), self.truth.unbind(1), self.probabilities.unbind(1), strict=True))
        some, lack = [count > 0 for count in self.positives], [count > 0 for count in self.negatives]
        if self.exclusive:
            lack = [positive and negative for positive, negative in zip(some, lack, strict=True)]

        def of(metric: Any, usable: list[bool]) -> Values:
            return [float(metric(s, t)) if use else None for (s, t, _), use in zip(columns, usable, strict=True)]

        recall, specificity = of(binary_recall, some), of(binary_specificity, lack)
        ranked = [
            float(binary_average_precision(p, t)) if use else None for (_, t, p), use in zip(columns, some, strict=True)
        ]
        both = [positive and negative for positive, negative in zip(some, lack, strict=True)]
        sensitive: Values = [
            float(binary_sensitivity_at_specificity(p, t, SPECIFICITY)[0]) if use else None
            for (_, t, p), use in zip(columns, both, strict=True)
        ]
        alarm = {} if self.exclusive else {"sensitivity_at_95_specificity": self.each(sensitive)}
        return {
            "balanced_accuracy": self._balanced(recall, specificity),
            "precision": self.each(of(binary_precision, some)),
            "recall": self.each(recall),
            "specificity": self.each(specificity, n=self.negatives),
            "f1": self.each(of(binary_f1_score, some)),
            "auroc": self.each(present_auroc(self.probabilities, self.truth)),
            "average_precision": self.each(ranked),
            **alarm,
        }

    def accuracy(self) -> dict[str, Any]:
        """Share of right decisions of each column."""
        right = (self.said == self.truth).double()
        values: Values = [float(column.mean()) if self.cases else None for column in right.unbind(1)]
        return self.each(values, n=[self.cases] * len(self.names))

    def each(self, values: Values, reason: str = "", n: list[int] | None = None) -> dict[str, Any]:
        """The entry of a metric that every column has: the mean over those that are defined, and each of them."""
        per_class: dict[str, Any] = {}
        for place, (name, value) in enumerate(zip(self.names, values, strict=True)):
            per_class[name] = {"mean": value, "n": (n or self.positives)[place]}
            if value is None:
                per_class[name] |= self._undefined(place, reason)
        kept = [value for value in values if value is not None]
        return self.whole(mean(kept), "no class is defined" if self.cases else "no cases") | {"per_class": per_class}

    def whole(self, value: float | None, reason: str) -> dict[str, Any]:
        """The entry of a metric that is one number for all cases."""
        entry: dict[str, Any] = {"mean": value, "std": None, "n": self.cases}
        return entry if value is not None else entry | {"reason": reason}

    def _undefined(self, place: int, reason: str) -> dict[str, Any]:
        if not self.positives[place] and not reason:
            return {"n": 0, "reason": POSITIVES}
        return {"reason": reason or NEGATIVES}

    def _balanced(self, recall: Values, specificity: Values) -> dict[str, Any]:
        if self.exclusive:
            return self.whole(mean(value for value in recall if value is not None), "no cases")
        pairs = zip(recall, specificity, strict=True)
        return self.each([None if r is None or s is None else (r + s) / 2 for r, s in pairs])
