"""Scores of risks and survival curves: values of a second library, and what is said where there is no value."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from medexp.errors import UserError
from medexp.metrics.forecast import pack, unpack
from medexp.metrics.survival import CIndex, SurvivalScores

TIMES = [4, 7, 4, 6, 1, 11, 1, 5, 4, 2, 4, 2, 6, 2, 4, 2, 14, 5, 2, 5, 1, 1, 2, 5, 14, 3, 4, 8, 4, 1]
EVENTS = [0, 1, 1, 1, 0, 0, 1, 0, 1, 1, 1, 1, 1, 0, 0, 1, 1, 1, 0, 0, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1]
RISKS = [-0.4, -1.5, -0.8, -0.7, 0.4, -1.3, -1.0, -2.3, 0.1, -1.6, -0.7, -0.3, 0.3, -0.2, -1.4, -0.5, -2.1, 0.6, -0.6]
RISKS += [-0.8, 0.1, -0.2, -0.9, -1.3, -1.4, -0.6, 0.4, -0.3, -0.4, 0.4]
HORIZONS = torch.tensor([3.0, 5.0, 8.0])


def forecasts(risks: Any) -> torch.Tensor:
    """Of exponential times whose mean is 8 at a risk of 0; above 0 is high."""
    risk = torch.as_tensor(risks).float()
    survival = torch.exp(-torch.exp(risk)[:, None] * HORIZONS / 8)
    return pack(risk, risk > 0, HORIZONS, survival, HORIZONS, survival)


def rows(times: Any = TIMES, events: Any = EVENTS, risks: Any = RISKS) -> list[dict[str, Any]]:
    found = forecasts(risks).numpy()
    return [SurvivalScores().case(f, np.array([t, e])) for f, t, e in zip(found, times, events, strict=True)]


def test_a_forecast_is_the_same_after_its_journey() -> None:
    horizons, grid = torch.tensor([12.35, 60.0]), torch.tensor([1.285, 7.7, 26.02])
    survival, curve = torch.tensor([[0.75, 0.5]]), torch.tensor([[0.875, 0.75, 0.25]])
    found = unpack(pack(torch.tensor([1.5]), torch.tensor([True]), horizons, survival, grid, curve)[0].numpy())
    assert (found.risk, found.high) == (1.5, True)
    assert found.horizons.tolist() == [12.35, 60.0]
    assert found.grid.tolist() == [1.285, 7.7, 26.02]
    assert (found.survival.tolist(), found.curve.tolist()) == (survival[0].tolist(), curve[0].tolist())


def test_a_row_is_what_was_seen_and_what_was_said() -> None:
    row = rows([7.3], [1], [0.0])[0]
    assert (row["time"], row["event"], row["risk"], row["group"]) == (7.3, 1, 0.0, "low")
    assert row["survival_8"] == row["curve_8"] == pytest.approx(np.exp(-1))
    assert [name for name in row if name.startswith("survival")] == ["survival_3", "survival_5", "survival_8"]


def test_values_are_those_of_scikit_survival() -> None:
    """Version 0.28, with the censoring distribution of the same cases."""
    found = SurvivalScores().summarize(rows())
    assert found["cindex"]["mean"] == pytest.approx(0.6684027777777778, abs=1e-9)
    assert found["cindex_ipcw"]["mean"] == pytest.approx(0.6764736749862869, abs=1e-6)
    auc = [found["auc"]["per_class"][name]["mean"] for name in ("3", "5", "8")]
    assert auc == pytest.approx([0.61415989, 0.72842439, 0.91401887], abs=1e-6)
    assert found["auc"]["mean"] == pytest.approx(np.mean(auc))
    assert found["brier"]["mean"] == pytest.approx(0.28214131182013663, abs=1e-6)
    assert (found["cindex"]["n"], found["cindex"]["events"]) == (30, 21)


def test_the_summary_of_a_table_is_that_of_its_rows() -> None:
    table = pd.DataFrame(rows()).to_csv(index=False)
    again = pd.read_csv(io.StringIO(table)).to_dict("records")
    assert SurvivalScores().summarize(again) == SurvivalScores().summarize(rows())  # type: ignore[arg-type]


def test_a_model_that_says_kaplan_meier_scores_as_kaplan_meier() -> None:
    same = [{**row, "curve_3": 0.7, "curve_5": 0.5, "curve_8": 0.2} for row in rows()]
    known = SurvivalScores().summarize(same)["brier_kaplan_meier"]["mean"]
    assert known == SurvivalScores().summarize(rows())["brier_kaplan_meier"]["mean"]  # of the cases, not of the model
    from scipy import stats

    sample = stats.CensoredData.right_censored(np.array(TIMES, float), np.array(EVENTS) == 0)
    curve = dict(zip(("curve_3", "curve_5", "curve_8"), stats.ecdf(sample).sf.evaluate([3, 5, 8]), strict=True))
    found = SurvivalScores().summarize([{**row, **curve} for row in rows()])
    assert found["brier"]["mean"] == pytest.approx(known, abs=1e-6)


def test_perfect_and_inverted_risks_are_1_and_0() -> None:
    for sign, value in ((-1, 1.0), (1, 0.0)):
        found = SurvivalScores().summarize(rows(range(1, 11), [1] * 10, [sign * time / 10 for time in range(1, 11)]))
        assert found["cindex"]["mean"] == found["cindex_ipcw"]["mean"] == value
        assert found["cindex"]["interval"] == [value, value]


def test_what_cannot_be_computed_is_none_with_the_reason() -> None:
    for cases in ([], rows([5.0], [1], [0.1]), rows([5.0, 7.0], [0, 0], [0.1, 0.2])):
        found = SurvivalScores().summarize(cases)
        assert [entry["mean"] for entry in found.values()] == [None] * len(found)
        assert "known to have the event first" in found["cindex"]["reason"]
    found = SurvivalScores().summarize(rows([9.0, 10.0, 11.0], [1, 1, 0], [0.1, 0.2, 0.3]))
    assert found["auc"]["mean"] is None
    assert found["auc"]["per_class"]["3"]["reason"].startswith("no event before it")
    assert found["brier"]["reason"] == "follow-up too short for the times of the curves"
    assert found["logrank_p"]["reason"] == "no events, or all cases in one group"


def test_the_logrank_test_tells_groups_apart() -> None:
    apart = SurvivalScores().summarize(rows(range(1, 21), [1] * 20, [1.0] * 10 + [-1.0] * 10))["logrank_p"]["mean"]
    mixed = SurvivalScores().summarize(rows(range(1, 21), [1] * 20, [1.0, -1.0] * 10))["logrank_p"]["mean"]
    assert apart < 1e-3 < 0.3 < mixed


def test_a_risk_that_is_no_number_is_refused() -> None:
    with pytest.raises(UserError, match="risk nan: no number; the network may have diverged"):
        rows([1.0], [1], [float("nan")])
    with pytest.raises(UserError, match=r"metrics\.test\.resamples: -1"):
        SurvivalScores(resamples=-1)


def test_validation_concordance_is_of_all_batches_together() -> None:
    metric = CIndex()
    targets = torch.tensor([TIMES, EVENTS]).T.float()
    for start in range(0, 30, 7):
        metric.update(torch.tensor(RISKS)[start : start + 7], targets[start : start + 7])
    assert metric.compute().item() == pytest.approx(0.6684027777777778, abs=1e-6)
    metric.reset()
    metric.update(torch.tensor([1.0, 2.0]), torch.tensor([[3.0, 0.0], [4.0, 0.0]]))
    assert metric.compute() == 0.5
