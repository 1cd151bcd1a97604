"""Measures under censoring: what they must keep, and that they are those of a second library."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medexp.metrics.censoring import auc, bootstrap, brier, concordance, kaplan_meier, logrank, weights

CASES = st.lists(st.tuples(st.integers(1, 6), st.booleans(), st.integers(-2, 2)), min_size=2, max_size=12)
Cases = list[tuple[int, bool, int]]


def arrays(cases: Cases) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """risk, time, came."""
    time, came, risk = (np.array(values) for values in zip(*cases, strict=True))
    return risk.astype(float), time.astype(float), came.astype(bool)


def drawn(count: int = 50, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    time, end = np.ceil(rng.exponential(6, count)), np.ceil(rng.exponential(12, count))
    return np.round(rng.normal(0, 1, count) - 0.1 * time, 1), np.minimum(time, end), time <= end


@given(CASES)
def test_concordance_and_auc_of_the_opposite_risk_are_the_rest(cases: Cases) -> None:
    risk, time, came = arrays(cases)
    for value, opposite in (
        (concordance(risk, time, came), concordance(-risk, time, came)),
        (auc(risk, time, came, 3.0), auc(-risk, time, came, 3.0)),
    ):
        assert (value is None) == (opposite is None)
        if value is not None and opposite is not None:
            assert value + opposite == pytest.approx(1)


@given(CASES)
def test_only_the_order_of_risks_counts(cases: Cases) -> None:
    risk, time, came = arrays(cases)
    assert concordance(risk, time, came) == concordance(np.exp(risk) * 7 - 2, time, came)


def test_concordance_counted_by_hand() -> None:
    """Of (1, event), (2, censored), (2, event), (3, event): pairs 1-2, 1-3, 1-4, 3-2 and 3-4; 2 is never the first."""
    time, came = np.array([1.0, 2, 2, 3]), np.array([True, False, True, True])
    assert concordance(np.array([4.0, 3, 2, 1]), time, came) == pytest.approx(4 / 5)
    assert concordance(np.array([1.0, 3, 2, 1]), time, came) == pytest.approx((0 + 0 + 0.5 + 0 + 1) / 5)


def test_without_censoring_every_weight_is_1_and_the_brier_score_a_squared_error() -> None:
    _, time, _ = drawn()
    came = np.ones(len(time), dtype=bool)
    times, survival = np.array([2.0, 5.0]), np.full((len(time), 2), 0.3)
    assert (weights(time, came, times) == 1).all()
    wanted = (((time[:, None] > times) - survival) ** 2).mean(0)
    np.testing.assert_allclose(brier(survival, time, came, times), wanted)


def test_weights_are_the_inverse_of_being_uncensored_and_0_where_nobody_is_left() -> None:
    time, came = np.array([1.0, 2, 2, 3, 4]), np.array([True, False, True, True, False])
    found = weights(time, came, np.array([0.5, 1.0, 2.0, 3.0, 4.0]))
    np.testing.assert_allclose(found, [1, 1, 1.5, 1.5, 0])  # at 2 the event goes first: one of three is censored


def test_the_interval_is_around_the_value_the_same_each_time_and_narrower_with_more_cases() -> None:
    few, many = drawn(30), drawn(600)
    (low, high), (lower, upper) = (bootstrap(*cases, resamples=500, seed=0) or (0, 1) for cases in (few, many))
    assert low < (concordance(*few) or 0) < high
    assert bootstrap(*few, resamples=500, seed=0) == [low, high] != bootstrap(*few, resamples=500, seed=1)
    assert upper - lower < 0.5 * (high - low)
    assert bootstrap(np.zeros(2), np.ones(2), np.zeros(2, dtype=bool), 10, 0) is None


def test_kaplan_meier_and_the_logrank_test_counted_by_hand() -> None:
    time, came = np.array([1.0, 2, 2, 3]), np.array([True, False, True, True])
    np.testing.assert_allclose(kaplan_meier(time, came).evaluate([0.5, 1, 2, 3]), [1, 3 / 4, 1 / 2, 0])
    nobody = (np.zeros(0), np.zeros(0, dtype=bool))
    assert logrank((time, came), nobody) is None
    assert logrank((time, ~came & came), (time, ~came & came)) is None
    assert logrank((time, came), (time, came)) == pytest.approx(1)


def test_values_are_those_of_torchsurv_where_it_is_installed() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it uses torch.jit.script
        pytest.importorskip("torchsurv", reason="torchsurv is not installed")
    import torch
    from torchsurv.metrics.auc import Auc
    from torchsurv.metrics.brier_score import BrierScore
    from torchsurv.metrics.cindex import ConcordanceIndex
    from torchsurv.stats.ipcw import get_ipcw

    risk, time, came = drawn()
    r, t, e = torch.tensor(risk).float(), torch.tensor(time).float(), torch.tensor(came)
    at = torch.tensor([3.0, 5.0, 8.0])
    w, wa = get_ipcw(e, t), get_ipcw(e, t, at)
    np.testing.assert_allclose(weights(time, came, time), w, rtol=1e-5)
    assert concordance(risk, time, came) == pytest.approx(float(ConcordanceIndex()(r, e, t)), rel=1e-5)
    uno = float(ConcordanceIndex()(r, e, t, weight=w))
    assert concordance(risk, time, came, weights(time, came, time) ** 2) == pytest.approx(uno, rel=1e-5)
    wanted = Auc()(r, e, t, new_time=at, weight=w, weight_new_time=wa)
    np.testing.assert_allclose([auc(risk, time, came, float(h)) for h in at], wanted, rtol=1e-5)  # type: ignore[arg-type]
    survival = torch.exp(-torch.exp(r)[:, None] * at / 8)
    score = BrierScore()(survival, e, t, new_time=at, weight=w, weight_new_time=wa)
    np.testing.assert_allclose(brier(survival.numpy(), time, came, at.numpy()), score, rtol=1e-5)
