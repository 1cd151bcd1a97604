"""Scores of measures: against torchmetrics and scipy, beside the mean predictor, and where there is nothing to say."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torchmetrics.functional.regression import concordance_corrcoef, mean_absolute_error, mean_squared_error, r2_score

from medexp.errors import UserError
from medexp.metrics.regression import R2, RegressionScores, concordance, pearson, scores


def scored(said: Any, truth: Any, usual: float = 2.0, **targets: str) -> dict[str, Any]:
    """Summary of predictions and labels (N, T)."""
    scorer = RegressionScores(targets or {"volume": "ml"})
    said, truth = np.atleast_2d(np.asarray(said, float).T).T, np.atleast_2d(np.asarray(truth, float).T).T
    rows = [
        scorer.case(np.stack([one, np.full_like(one, usual)]), other) for one, other in zip(said, truth, strict=True)
    ]
    return scorer.summarize(rows)


def test_values_are_those_of_torchmetrics_and_scipy() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(5, 2, 40)
    said = truth * 0.8 + rng.normal(0, 1, 40)
    found = scored(said, truth)
    said_, truth_ = torch.tensor(said), torch.tensor(truth)
    assert found["mse"]["mean"] == pytest.approx(float(mean_squared_error(said_, truth_)))
    assert found["mae"]["mean"] == pytest.approx(float(mean_absolute_error(said_, truth_)))
    assert found["rmse"]["mean"] == pytest.approx(math.sqrt(found["mse"]["mean"]))
    assert found["r2"]["mean"] == pytest.approx(float(r2_score(said_, truth_)))
    assert found["pearson"]["mean"] == pytest.approx(stats.pearsonr(said, truth).statistic)
    assert found["bias"]["mean"] == pytest.approx((said - truth).mean())
    assert found["limit_upper"]["mean"] == pytest.approx((said - truth).mean() + 1.96 * (said - truth).std(ddof=1))
    assert found["limit_lower"]["mean"] == pytest.approx((said - truth).mean() - 1.96 * (said - truth).std(ddof=1))
    # torchmetrics divides variances by N - 1, Lin by N: the same for many cases
    many = np.tile(said, 500), np.tile(truth, 500)
    wanted = float(concordance_corrcoef(*map(torch.tensor, many)))
    assert concordance(*many) == pytest.approx(wanted, abs=1e-4)


def test_concordance_of_a_small_example_is_that_of_lins_formula() -> None:
    said, truth = np.array([1.0, 2.0, 4.0]), np.array([2.0, 2.0, 5.0])
    # means 7/3 and 3, variances 14/9 and 2, covariance 5/3
    assert concordance(said, truth) == pytest.approx(2 * (5 / 3) / (14 / 9 + 2 + (2 / 3) ** 2))


@given(st.lists(st.floats(-100, 100), min_size=3, max_size=20), st.floats(-10, 10), st.floats(0.1, 5))
@settings(max_examples=60, deadline=None)
def test_agreement_is_at_most_correlation_and_one_on_the_identity(
    values: list[float], shift: float, scale: float
) -> None:
    truth = np.asarray(values)
    if np.ptp(truth) < 1e-3:
        return
    assert concordance(truth, truth) == pytest.approx(1)
    said = truth * scale + shift
    agreement, correlation = concordance(said, truth), pearson(said, truth)
    assert correlation == pytest.approx(1)
    assert agreement is not None
    assert -1e-9 <= agreement <= 1 + 1e-9


def test_the_mean_predictor_stands_beside_each_metric() -> None:
    found = scored([1.0, 2.0, 3.0], [1.0, 2.0, 6.0], usual=2.0)
    assert found["mae"]["mean"] == pytest.approx(1)
    assert found["mae_mean_predictor"]["mean"] == pytest.approx(5 / 3)
    assert found["concordance_mean_predictor"]["mean"] == 0
    assert found["pearson_mean_predictor"]["mean"] is None
    assert found["pearson_mean_predictor"]["reason"] == "labels or predictions are all equal"
    assert "bias_mean_predictor" not in found


def test_errors_of_targets_of_several_units_have_no_mean_and_correlations_have() -> None:
    truth = [[1.0, 60.0], [2.0, 40.0], [4.0, 70.0]]
    found = scored(truth, truth, volume="ml", age="years")
    assert found["mae"]["mean"] is None
    assert "several units (ml, years)" in found["mae"]["reason"]
    assert found["mae"]["per_class"]["age"] == {"mean": 0, "std": 0, "n": 3, "n_absent": 0, "unit": "years"}
    assert found["mse"]["per_class"]["volume"]["unit"] == "ml^2"
    assert found["r2"]["mean"] == 1
    assert "unit" not in found["r2"]["per_class"]["age"]


def test_one_case_has_errors_and_no_correlation() -> None:
    found = scored([1.0], [3.0])
    assert found["mae"]["mean"] == 2
    for name in ("r2", "concordance", "pearson", "limit_lower"):
        assert found[name]["mean"] is None
        assert "fewer than two cases" in found[name]["reason"]
    assert scored([1.0, 2.0], [3.0, 3.0])["r2"]["reason"] == "all labels are equal"
    assert scores(np.array([]), np.array([]))["mse"]["reason"] == "no cases"


def test_rows_from_a_file_give_the_same_summary() -> None:
    scorer = RegressionScores({"volume": "ml"})
    row = scorer.case(np.array([[2.0], [1.5]]), np.array([3.0]))
    assert row == {"label_volume": 3, "prediction_volume": 2, "error_volume": -1, "mean_predictor_volume": 1.5}
    assert scorer.summarize([{key: str(cell) for key, cell in row.items()}]) == scorer.summarize([row])


def test_a_prediction_that_is_no_number_and_other_shapes_are_refused() -> None:
    scorer = RegressionScores({"volume": "ml"})
    with pytest.raises(UserError, match="no number; the network may have diverged"):
        scorer.case(np.array([[np.nan], [1.0]]), np.array([1.0]))
    with pytest.raises(UserError, match=r"for 1 targets; check dataset\.targets"):
        scorer.case(np.zeros((2, 2)), np.zeros(2))
    with pytest.raises(UserError, match="names no target"):
        RegressionScores({})


def test_r2_of_a_single_case_is_that_of_its_mean() -> None:
    metric = R2()
    metric.update(torch.tensor([[1.0]]), torch.tensor([[5.0]]))
    assert metric.compute() == 0
    metric.update(torch.tensor([[2.0]]), torch.tensor([[3.0]]))
    assert metric.compute() == pytest.approx(1 - (16 + 1) / 2)
