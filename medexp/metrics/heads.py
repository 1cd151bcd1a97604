"""Metrics of a network with several heads: each is given its own part of what the task says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.wrappers.abstract import WrapperMetric

from medexp.errors import UserError
from medexp.metrics.classification import ClassificationScores
from medexp.metrics.regression import RegressionScores
from medexp.metrics.segmentation import SegmentationScores
from medexp.metrics.table import Row, column_names
from medexp.targets import unit, width


class OfHead(WrapperMetric):
    """A metric of one head: `map`, or a name of `dataset.targets`."""

    def __init__(self, head: str, metric: Metric) -> None:
        super().__init__()
        self.head, self.metric = head, metric

    def update(self, found: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
        """Adds a batch. Raises UserError for a head that there is not."""
        if self.head not in found:
            raise UserError(f"metrics.validation: no head '{self.head}'; heads: {', '.join(found)}")
        self.metric.update(found[self.head], target[self.head])

    def compute(self) -> Any:
        return self.metric.compute()

    def reset(self) -> None:
        self.metric.reset()
        super().reset()


class HeadScores:
    """Scores a label map and, of each entry of `targets` (`dataset.targets`), a number or a class: the scorers of these
    tasks side by side, whose columns and metrics begin with the entry's name.

    classes, tolerance, include_background: of the map, see SegmentationScores.
    """

    def __init__(
        self,
        classes: Sequence[str],
        targets: Mapping[str, Any],
        tolerance: float = 1.0,
        include_background: bool = False,
    ) -> None:
        self.map = SegmentationScores(classes, tolerance=tolerance, include_background=include_background)
        self.columns = dict(zip(targets, column_names(list(targets)), strict=True))
        self.heads = {name: _scorer(name, entry) for name, entry in targets.items()}
        self.widths = [2 if unit(entry) is not None else width(entry) for entry in targets.values()]

    def case(
        self,
        prediction: tuple[np.ndarray, np.ndarray],
        target: tuple[np.ndarray, np.ndarray],
        spacing: tuple[float, ...],
    ) -> Row:
        """One row. prediction: class map (*spatial) and what the heads say, (N,): of a number its value and the mean
        predictor's, of a class its probabilities. target: label map and the targets (T,). Raises UserError."""
        row = self.map.case(prediction[0], target[0], spacing)
        parts = np.split(prediction[1], np.cumsum(self.widths)[:-1])
        for (name, scorer), part, truth in zip(self.heads.items(), parts, target[1], strict=True):
            said = part[:, None] if isinstance(scorer, RegressionScores) else part
            found = scorer.case(said, np.asarray([truth]), ())
            row |= {self._column(name, column): cell for column, cell in found.items()}
        return row

    def summarize(self, rows: list[Row]) -> dict[str, Any]:
        """Those of the map under their own names, those of each head under `<name>_<metric>`."""
        result = self.map.summarize(rows)
        for name, scorer in self.heads.items():
            own = [
                {column: row[self._column(name, column)] for column in self._columns(scorer)}  # its cells alone
                for row in rows
            ]
            for metric, entry in scorer.summarize(own).items():
                if isinstance(scorer, RegressionScores):
                    entry = {key: value for key, value in entry.items() if key != "per_class"}  # the one target
                result[f"{self.columns[name]}_{metric}"] = entry
        return result

    def _column(self, name: str, column: str) -> str:
        return f"{self.columns[name]}_{column}"

    def _columns(self, scorer: Any) -> list[str]:
        if isinstance(scorer, RegressionScores):
            return [f"{kind}_value" for kind in ("label", "prediction", "error", "mean_predictor")]
        return ["label", "prediction", "correct", *(f"prob_{name}" for name in scorer.columns)]


def _scorer(name: str, entry: Any) -> RegressionScores | ClassificationScores:
    """Of a head; the only target of a regression is called `value`, for its column begins with the head's name."""
    own = unit(entry)
    if own is not None:
        return RegressionScores({"value": own})
    if len(entry) < 2:
        raise UserError(f"dataset.targets.{name}: {list(entry)}: two classes or more are needed")
    return ClassificationScores(entry, mode="binary" if width(entry) == 1 else "index")
