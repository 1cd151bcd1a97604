"""Scores of what was predicted for the next frames of a study, horizon by horizon, beside the last frame's.

The last frame (persistence) is the forecast that needs no network: nothing changes. A model that does not beat it has
learnt nothing of how studies go on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics.functional import mean_absolute_error, mean_squared_error, pearson_corrcoef, r2_score

from medexp.metrics.image_quality import measured
from medexp.metrics.table import Row, describe, number

IMAGE_METRICS = ("mae", "psnr", "ssim")
LAST, MEAN = "last_frame", "mean_frame"


def _rmse(predicted: Tensor, target: Tensor) -> Tensor:
    return mean_squared_error(predicted, target, squared=False)


# Of columns of predicted and true values: metric, and the number of cases with different values that it needs.
VALUE_METRICS: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], int]] = {
    "mae": (mean_absolute_error, 1),
    "rmse": (_rmse, 1),
    "r2": (r2_score, 2),
    "pearson": (pearson_corrcoef, 2),
}


class NextValueScores:
    """Scores predicted values. horizon: how many frames ahead were predicted.

    Columns, k = 1 .. horizon: `target_<k>`, `predicted_<k>`, `error_<k>` (predicted less target), and of the last frame
    `last_frame` and `last_frame_error_<k>`; all in the unit of the values.
    """

    def __init__(self, horizon: int) -> None:
        self.horizon = horizon

    def case(self, prediction: np.ndarray, target: np.ndarray, last: float) -> Row:
        """One row. prediction, target: (horizon,). last: the value at the last frame that the network saw."""
        row: Row = {}
        for ahead, (said, true) in enumerate(zip(prediction.tolist(), target.tolist(), strict=True), start=1):
            row |= {f"target_{ahead}": true, f"predicted_{ahead}": said, f"error_{ahead}": said - true}
            row[f"{LAST}_error_{ahead}"] = last - true
        return {LAST: last, **row}

    def summarize(self, rows: list[Row]) -> dict[str, Any]:
        """mae, rmse, r2, pearson, and the same of the last frame (`<metric>_last_frame`): mean over the horizons, with
        each in `per_class` ("+1", "+2", ...). gain: by how much the absolute error is smaller than the last frame's, mean
        and standard deviation over the cases; closer: share of the cases in which it is smaller."""
        summary: dict[str, Any] = {}
        for name, (measure, needed) in VALUE_METRICS.items():
            for end, column in (("", "predicted_{}"), (f"_{LAST}", LAST)):
                each = {f"+{k}": self._one(rows, measure, needed, column.format(k), k) for k in self._ahead()}
                summary[name + end] = {**_mean(each, len(rows)), "per_class": each}
        gains = {
            f"+{k}": [abs(_of(r, f"{LAST}_error_{k}")) - abs(_of(r, f"error_{k}")) for r in rows] for k in self._ahead()
        }
        return summary | compared(gains)

    def _one(
        self, rows: list[Row], measure: Callable[[Tensor, Tensor], Tensor], needed: int, column: str, ahead: int
    ) -> dict[str, Any]:
        said, true = (torch.tensor([_of(row, key) for row in rows]).double() for key in (column, f"target_{ahead}"))
        if len(true.unique()) < needed or (measure is pearson_corrcoef and len(said.unique()) < needed):
            return {"mean": None, "std": None, "n": len(rows), "reason": "all values are one"}
        return {"mean": float(measure(said, true)), "std": None, "n": len(rows)}

    def _ahead(self) -> range:
        return range(1, self.horizon + 1)


class NextFrameScores:
    """Scores predicted frames as images. horizon: how many frames ahead were predicted.

    Columns, k = 1 .. horizon: `<metric>_<k>`, `<metric>_last_frame_<k>` and `<metric>_mean_frame_<k>` (the mean of the
    frames that were seen: what averaging noise gives) of mae (in the unit of the prepared image: standard deviations
    where that is standardised), psnr (dB) and ssim.
    """

    def __init__(self, horizon: int) -> None:
        self.horizon = horizon

    def case(self, prediction: np.ndarray, target: np.ndarray, seen: np.ndarray) -> Row:
        """One row. prediction, target: (horizon * C, *spatial). seen: (T, C, *spatial), the frames that the network saw."""
        row: Row = {}
        pairs = zip(np.split(prediction, self.horizon), np.split(target, self.horizon), strict=True)
        for ahead, (said, true) in enumerate(pairs, start=1):
            for end, image in (("", said), (f"_{LAST}", seen[-1]), (f"_{MEAN}", seen.mean(axis=0))):
                found = measured(torch.from_numpy(np.ascontiguousarray(image)), torch.from_numpy(true.copy()))
                row |= {f"{name}{end}_{ahead}": found[name] for name in IMAGE_METRICS}
        return row

    def summarize(self, rows: list[Row]) -> dict[str, Any]:
        """Each metric, and the same of the last frame (`<metric>_last_frame`) and the mean one: mean over horizons and
        cases, with each horizon in `per_class` ("+1", "+2", ...). gain, closer: see NextValueScores."""
        summary: dict[str, Any] = {}
        for name in (f"{metric}{end}" for metric in IMAGE_METRICS for end in ("", f"_{LAST}", f"_{MEAN}")):
            cells = {f"+{k}": [row[f"{name}_{k}"] for row in rows] for k in range(1, self.horizon + 1)}
            each = {key: describe(column, "images too small") for key, column in cells.items()}
            together = describe([cell for column in cells.values() for cell in column], "images too small")
            summary[name] = {**together, "per_class": each}
        gains = {
            f"+{k}": [_of(row, f"mae_{LAST}_{k}") - _of(row, f"mae_{k}") for row in rows]
            for k in range(1, self.horizon + 1)
        }
        return summary | compared(gains)


def compared(gains: dict[str, list[float]]) -> dict[str, Any]:
    """gain and closer of absolute errors, by horizon: how much smaller than the last frame's, in which share of cases."""
    pooled = [gain for column in gains.values() for gain in column]
    found: dict[str, Any] = {}
    for name, of in (("gain", float), ("closer", lambda gain: float(gain > 0))):
        each = {key: describe([of(gain) for gain in column], "no cases") for key, column in gains.items()}
        found[name] = {**describe([of(gain) for gain in pooled], "no cases"), "per_class": each}
    return found


def _mean(each: dict[str, dict[str, Any]], cases: int) -> dict[str, Any]:
    values = [entry["mean"] for entry in each.values()]
    if any(value is None for value in values):
        return {"mean": None, "std": None, "n": cases, "reason": "all values are one"}
    return {"mean": float(np.mean(values)), "std": None, "n": cases}


def _of(row: Row, key: str) -> float:
    value = number(row[key])
    assert value is not None  # of every case
    return value
