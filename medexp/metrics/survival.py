"""Scores of risks and survival curves against follow-up: one row a case, then what only the whole test split can say."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat

from medexp.errors import UserError
from medexp.metrics.censoring import Array, auc, bootstrap, brier, concordance, kaplan_meier, logrank, weights
from medexp.metrics.forecast import unpack
from medexp.metrics.table import Row, mean

CHANCE = 0.5
SURVIVAL, CURVE = "survival_", "curve_"  # columns: at the times asked, and over the follow-up
HIGH, LOW = "high", "low"
FEW = "no two cases of which one is known to have the event first"
EARLY = "no event before it, or nobody followed up beyond"
SHORT = "follow-up too short for the times of the curves"


class CIndex(Metric):
    """Harrell's concordance of the risks of all batches; 0.5 (chance) where no two cases can be compared."""

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    risks: list[Tensor]
    targets: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("risks", [], dist_reduce_fx="cat")
        self.add_state("targets", [], dist_reduce_fx="cat")

    def update(self, risk: Tensor, target: Tensor) -> None:
        """Adds a batch: risk (B,), target (B, 2), time and event."""
        self.risks.append(risk.detach().float())
        self.targets.append(target)

    def compute(self) -> Tensor:
        risks, targets = dim_zero_cat(self.risks), dim_zero_cat(self.targets)
        time, event = targets.cpu().numpy().T
        value = concordance(risks.cpu().numpy(), time, event > 0)
        return torch.tensor(CHANCE if value is None else value, device=risks.device)


class SurvivalScores:
    """Scores forecasts (medexp/metrics/forecast.py) of cases with follow-up.

    Columns: `time`, `event`, `risk`, `group` (high or low: above the median risk of the training split or not),
    `survival_<time>` at the horizons, `curve_<time>` over the follow-up.

    resamples, seed: bootstrap samples of cases for the interval of `cindex`, and their generator's seed.
    """

    def __init__(self, resamples: int = 1000, seed: int = 0) -> None:
        if resamples < 0:
            raise UserError(f"metrics.test.resamples: {resamples} is less than 0; 0 gives no interval")
        self.resamples, self.seed = resamples, seed

    def case(self, prediction: np.ndarray, target: np.ndarray, spacing: tuple[float, ...] = ()) -> Row:
        """One row. prediction: a packed forecast. target: (2,), time and event. `spacing` is not used."""
        found = unpack(prediction)
        if not math.isfinite(found.risk):
            raise UserError(f"risk {found.risk}: no number; the network may have diverged: lower optimizer.lr")
        return {
            "time": round(float(target[0]), 6),
            "event": int(target[1]),
            "risk": found.risk,
            "group": HIGH if found.high else LOW,
            **{f"{SURVIVAL}{t:g}": float(p) for t, p in zip(found.horizons, found.survival, strict=True)},
            **{f"{CURVE}{t:g}": float(p) for t, p in zip(found.grid, found.curve, strict=True)},
        }

    def summarize(self, rows: list[Row]) -> dict[str, Any]:
        """`{metric: {mean, std, n, per_class}}` of rows from `case` or the same from a CSV; per_class is per horizon.

        cindex: Harrell's concordance with a 95 % bootstrap `interval` over cases (percentiles). cindex_ipcw: Uno's, of
        events up to the last time of the curves. auc: cumulative/dynamic, at each horizon, and their mean. brier:
        integrated over the follow-up, beside that of Kaplan-Meier on these very cases (`brier_kaplan_meier`), which knows
        no image, but unlike any model what became of them: lower is better, and a useful model is below it. Censoring is
        weighted by its inverse probability, estimated from these cases. logrank_p: that both groups survive alike.
        What cannot be computed is None with the reason.
        """
        time, risk = (_column(rows, key) for key in ("time", "risk"))
        came = _column(rows, "event") > 0
        harrell: dict[str, Any] = _entry(concordance(risk, time, came), len(rows), FEW)
        harrell["events"] = int(came.sum())
        if harrell["mean"] is not None and self.resamples:
            harrell["interval"] = bootstrap(risk, time, came, self.resamples, self.seed)
        grid, curves = _within(rows, CURVE, time, came)
        counted = time < grid[-1] if len(grid) else came
        uno = concordance(risk, time, came, weights(time, came, time) ** 2 * counted)
        p_value = logrank(*(group_of(rows, name) for name in (HIGH, LOW)))
        return {
            "cindex": harrell,
            "cindex_ipcw": _entry(uno, len(rows), FEW),
            "auc": _auc(rows, time, came),
            **_brier(time, came, grid, curves),
            "logrank_p": _entry(p_value, len(rows), "no events, or all cases in one group"),
        }


def _auc(rows: list[Row], time: Array, came: Array) -> dict[str, Any]:
    horizons, survival = curves_in(rows, SURVIVAL)
    values = [auc(1 - survival[:, place], time, came, at) for place, at in enumerate(horizons)]
    entries = {f"{at:g}": _entry(value, len(rows), EARLY) for at, value in zip(horizons, values, strict=True)}
    whole = mean(value for value in values if value is not None)
    return {**_entry(whole, len(rows), "no horizon can be scored"), "per_class": entries}


def _brier(time: Array, came: Array, grid: Array, curves: Array) -> dict[str, dict[str, Any]]:
    names = ("brier", "brier_kaplan_meier")
    if len(grid) < 2:
        return {name: _entry(None, len(time), SHORT) for name in names}
    known = np.broadcast_to(kaplan_meier(time, came).evaluate(grid), curves.shape)
    scores = (np.trapezoid(brier(curve, time, came, grid), grid) / (grid[-1] - grid[0]) for curve in (curves, known))
    return {name: _entry(float(score), len(time), SHORT) for name, score in zip(names, scores, strict=True)}


def group_of(rows: list[Row], name: str) -> tuple[Array, Array]:
    """Times and events of a group."""
    members = [row for row in rows if row["group"] == name]
    return _column(members, "time"), _column(members, "event") > 0


def curves_in(rows: list[Row], prefix: str) -> tuple[Array, Array]:
    """The times that columns name (T,), and the cases' survival at them (N, T)."""
    names = [name for name in (rows[0] if rows else ()) if name.startswith(prefix)]
    values = [_column(rows, name) for name in names]
    return np.array([float(name.removeprefix(prefix)) for name in names]), np.array(values).reshape(
        len(names), len(rows)
    ).T


def _within(rows: list[Row], prefix: str, time: Array, came: Array) -> tuple[Array, Array]:
    """The curves at times with an event before and somebody followed up beyond."""
    times, values = curves_in(rows, prefix)
    seen = (times >= time[came].min()) & (times < time.max()) if came.any() else times < 0
    return times[seen], values[:, seen]


def _column(rows: list[Row], name: str) -> Array:
    return np.array([float(row[name]) for row in rows])  # type: ignore[arg-type]  # a number in every row


def _entry(value: float | None, count: int, reason: str) -> dict[str, Any]:
    """Of a whole split: there is no std over cases."""
    entry: dict[str, Any] = {"mean": value, "std": None, "n": count}
    return entry if value is not None else {**entry, "reason": reason}
