"""Scores of predicted measures against true ones: one row a case, then what only the whole test split can say."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import R2Score

from medexp.errors import UserError
from medexp.metrics.table import Row, column_names, describe, mean
from medexp.targets import unit

USUAL = "mean_predictor"  # what predicts the training split's mean for every case
LIMIT = 1.96  # standard deviations of the differences: 95 % of them, where they are normal
Numbers = np.ndarray


class R2(R2Score):
    """Share of the variance that is explained, averaged over targets: below two cases 0, what predicting their mean gives.

    torchmetrics' own raises there, which a small validation split would meet after its first epoch. A target that is the same
    in all cases counts 0 (1 where it is met exactly), as there.
    """

    def compute(self) -> Tensor:
        return super().compute() if int(self.total) > 1 else torch.zeros((), device=self.device)


class RegressionScores:
    """Scores measures of images. targets: `dataset.targets`, a unit a name.

    Columns, of each target: `label_<name>`, `prediction_<name>`, `error_<name>` (prediction less label) and
    `mean_predictor_<name>`, all in its unit.
    """

    def __init__(self, targets: Mapping[str, Any]) -> None:
        if not targets:
            raise UserError("dataset.targets: names no target; give dataset.targets={NAME: UNIT}")
        self.units = {name: unit(entry) or "" for name, entry in targets.items()}
        self.columns = dict(zip(targets, column_names(list(targets)), strict=True))

    def case(self, prediction: Numbers, target: Numbers, spacing: tuple[float, ...] = ()) -> Row:
        """One row. prediction: (2, T), values and those of the mean predictor. target: (T,). `spacing` is not used.
        Raises UserError for a value that is no number."""
        values, truth = np.asarray(prediction, dtype=float), np.asarray(target, dtype=float)
        if values.shape != (2, len(self.units)) or truth.shape != (len(self.units),):
            seen = f"predictions {values.shape} and target {truth.shape} for {len(self.units)} targets"
            raise UserError(f"{seen}; check dataset.targets")
        if not np.isfinite(values).all():
            raise UserError(
                f"prediction {values[0].tolist()}: no number; the network may have diverged: lower optimizer.lr"
            )
        row: Row = {}
        for name, said, usual, real in zip(self.columns.values(), *values, truth, strict=True):
            row |= {
                f"label_{name}": float(real),
                f"prediction_{name}": float(said),
                f"error_{name}": float(said - real),
            }
            row[f"{USUAL}_{name}"] = float(usual)
        return row

    def summarize(self, rows: list[Row]) -> dict[str, Any]:
        """`{metric: {mean, std, n, per_class}}` of rows from `case` or the same from a CSV; per_class is per target, with
        its `unit`.

        mse, mae, rmse; r2: 1 - squared errors over those of the mean of these cases; concordance: agreement with the
        identity (Lin 1989, doi:10.2307/2532051); pearson: correlation. bias: mean of prediction - label, limit_lower and
        limit_upper: bias -+ 1.96 standard deviations of it (Bland and Altman 1986, doi:10.1016/S0140-6736(86)90837-8).
        `<metric>_mean_predictor`: of what predicts the training split's mean for every case. `mean` is over targets; None where
        these have several units. std: over cases, of single errors, where a metric is their mean.
        """
        each: dict[str, dict[str, dict[str, Any]]] = {}
        for name, column in self.columns.items():
            truth, said, usual = (_numbers(rows, f"{key}_{column}") for key in ("label", "prediction", USUAL))
            beside = scores(usual, truth)
            found: dict[str, dict[str, Any]] = {}
            for metric, entry in scores(said, truth).items():
                found[metric] = entry
                if not metric.startswith(("bias", "limit")):
                    found[f"{metric}_{USUAL}"] = beside[metric]
            for metric, entry in found.items():
                own = {"unit": self._unit(name, metric)} if metric.split("_")[0] in UNITS else {}
                each.setdefault(metric, {})[name] = entry | own
        return {metric: self._over_targets(metric, entries) for metric, entries in each.items()}

    def _unit(self, name: str, metric: str) -> str:
        own = self.units[name]
        return f"{own}^2" if metric.startswith("mse") and own else own

    def _over_targets(self, metric: str, entries: dict[str, dict[str, Any]]) -> dict[str, Any]:
        if len(entries) == 1:
            (entry,) = entries.values()
            return {**entry, "per_class": entries}
        count = min(entry["n"] for entry in entries.values())
        if metric.split("_")[0] in UNITS and len(set(self.units.values())) > 1:
            reason = f"targets of several units ({', '.join(dict.fromkeys(self.units.values()))}) have no mean"
            return {"mean": None, "std": None, "n": count, "reason": reason, "per_class": entries}
        values = [entry["mean"] for entry in entries.values() if entry["mean"] is not None]
        whole: dict[str, Any] = {"mean": mean(values), "std": None, "n": count, "per_class": entries}
        return whole if values else whole | {"reason": next(iter(entries.values()))["reason"]}


UNITS = ("mse", "mae", "rmse", "bias", "limit")  # first words of the metrics that have a unit


def scores(said: Numbers, truth: Numbers) -> dict[str, dict[str, Any]]:
    """All metrics of predictions (N,) and labels (N,), see `RegressionScores.summarize`."""
    count, errors = len(truth), said - truth
    squares = describe((errors**2).tolist(), "no cases")
    absolute = describe(np.abs(errors).tolist(), "no cases")
    bias = describe(errors.tolist(), "no cases")
    result = {"mse": squares, "mae": absolute}
    result["rmse"] = _entry(None if squares["mean"] is None else math.sqrt(squares["mean"]), count, "no cases")
    few = "all labels are equal" if count > 1 else "fewer than two cases"
    spread = float(((truth - truth.mean()) ** 2).sum()) if count > 1 else 0.0
    result["r2"] = _entry(1 - float((errors**2).sum()) / spread if spread > 0 else None, count, few)
    result["concordance"] = _entry(concordance(said, truth), count, few)
    constant = "labels or predictions are all equal" if count > 1 else few
    result["pearson"] = _entry(pearson(said, truth), count, constant)
    result["bias"] = bias
    for name, sign in (("limit_lower", -1), ("limit_upper", 1)):
        limit = None if bias["std"] is None else bias["mean"] + sign * LIMIT * bias["std"]
        result[name] = _entry(limit, count, "fewer than two cases")
    return result


def concordance(said: Numbers, truth: Numbers) -> float | None:
    """Lin's concordance correlation: 1 on the identity, 0 without agreement; None where all is one value.

    2 s_xy / (s_x^2 + s_y^2 + (mean_x - mean_y)^2), with sums over N, as Lin (1989) estimates it (torchmetrics divides by N - 1).
    """
    if len(truth) < 2:
        return None
    apart = said.var() + truth.var() + (said.mean() - truth.mean()) ** 2
    return float(2 * _covariance(said, truth) / apart) if apart > 0 else None


def pearson(said: Numbers, truth: Numbers) -> float | None:
    """Pearson's correlation; None where one of the two is constant."""
    if len(truth) < 2 or np.ptp(said) == 0 or np.ptp(truth) == 0:
        return None
    return float(np.clip(_covariance(said, truth) / (said.std() * truth.std()), -1, 1))


def _covariance(one: Numbers, other: Numbers) -> float:
    return float(((one - one.mean()) * (other - other.mean())).mean())


def _entry(value: float | None, count: int, reason: str) -> dict[str, Any]:
    entry: dict[str, Any] = {"mean": value, "std": None, "n": count}
    return entry if value is not None else entry | {"reason": reason}


def _numbers(rows: Sequence[Row], column: str) -> Numbers:
    return np.asarray([float(row[column]) for row in rows], dtype=np.float64)  # type: ignore[arg-type]
