"""Likelihoods of follow-up: their values, what censoring does to them, and that nothing makes them infinite."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from medexp.losses.cox import Cox
from medexp.losses.discrete_hazards import DiscreteHazards


def follow_up(ties: bool, count: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    time = torch.rand(count, generator=generator) * 10 + 0.1
    event = (torch.rand(count, generator=generator) < 0.7).float()
    return torch.randn(count, 1, generator=generator), torch.stack([time.ceil() if ties else time, event], 1)


def by_the_book(scores: torch.Tensor, target: torch.Tensor, method: str) -> float:
    """Sum over event times, as Therneau and Grambsch (2000, section 3.3) write it."""
    risk, total = scores.squeeze(1).double(), 0.0
    time, event = target.double().unbind(1)
    for at in time[event > 0].unique():
        tied = (time == at) & (event > 0)
        everyone, fellows, count = risk[time >= at].exp().sum(), risk[tied].exp().sum(), int(tied.sum())
        gone = [k / count if method == "efron" else 0.0 for k in range(count)]
        total += float(sum(torch.log(everyone - share * fellows) for share in gone) - risk[tied].sum())
    return total


@pytest.mark.parametrize("method", ["efron", "breslow"])
@pytest.mark.parametrize("ties", [False, True])
def test_cox_is_the_partial_likelihood(method: str, ties: bool) -> None:
    scores, target = follow_up(ties)
    found = float(Cox(method)(scores, target) * target[:, 1].sum())  # type: ignore[arg-type]
    assert found == pytest.approx(by_the_book(scores, target, method), rel=1e-5)


@pytest.mark.parametrize("method", ["efron", "breslow"])
def test_cox_is_that_of_torchsurv_where_it_is_installed(method: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it uses torch.jit.script, and warns of ties
        cox = pytest.importorskip("torchsurv.loss.cox", reason="torchsurv is not installed")
        scores, target = follow_up(ties=True)
        wanted = cox.neg_partial_log_likelihood(scores[:, 0], target[:, 1] > 0, target[:, 0], method, reduction="sum")
    torch.testing.assert_close(Cox(method)(scores, target) * target[:, 1].sum(), wanted)  # type: ignore[arg-type]


def test_efron_and_breslow_differ_only_where_events_are_tied() -> None:
    for ties, same in ((False, True), (True, False)):
        values = [Cox(method)(*follow_up(ties)) for method in ("efron", "breslow")]  # type: ignore[arg-type]
        assert torch.isclose(*values) == same


@given(st.permutations(range(12)), st.floats(-50, 50))
def test_cox_knows_neither_the_order_of_cases_nor_the_level_of_risk(order: list[int], shift: float) -> None:
    scores, target = follow_up(ties=True, count=12)
    torch.testing.assert_close(Cox()(scores[order] + shift, target[order]), Cox()(scores, target), rtol=1e-3, atol=1e-4)


def test_a_case_censored_before_every_event_counts_for_nothing() -> None:
    scores = torch.zeros(3, 1, requires_grad=True)
    Cox()(scores, torch.tensor([[1.0, 0.0], [2.0, 1.0], [3.0, 0.0]])).backward()
    assert scores.grad is not None
    torch.testing.assert_close(scores.grad.squeeze(), torch.tensor([0.0, -0.5, 0.5]))


def test_a_batch_without_events_has_no_loss_but_a_gradient_for_every_rank() -> None:
    scores = torch.randn(4, 1, requires_grad=True)
    loss = Cox()(scores, torch.tensor([[1.0, 0.0]] * 4))
    loss.backward()
    assert loss.item() == 0
    assert scores.grad is not None
    assert not scores.grad.any()


@pytest.mark.parametrize("method", ["efron", "breslow"])
def test_large_risks_stay_finite(method: str) -> None:
    scores = torch.tensor([[500.0], [-500.0], [0.0], [500.0]], requires_grad=True)
    loss = Cox(method)(scores, torch.tensor([[1.0, 1.0], [1.0, 1.0], [1.0, 1.0], [2.0, 0.0]]))  # type: ignore[arg-type]
    loss.backward()
    assert torch.isfinite(loss)
    assert scores.grad is not None
    assert torch.isfinite(scores.grad).all()


def test_other_ways_with_ties_are_refused() -> None:
    with pytest.raises(ValueError, match="ties='exact'; allowed: efron, breslow"):
        Cox("exact")  # type: ignore[arg-type]


def test_discrete_hazards_are_the_likelihood_of_what_was_survived() -> None:
    hazards = torch.tensor([[0.1, 0.2, 0.4], [0.5, 0.25, 0.3]])
    survived = torch.tensor([[1.0, 0, 0], [1.0, 1.0, 0]])
    failed = torch.tensor([[0, 1.0, 0], [0, 0, 0]])
    loss = DiscreteHazards()(hazards.logit(), torch.stack([survived, failed], 1))
    assert loss.item() == pytest.approx(-(math.log(0.9 * 0.2) + math.log(0.5 * 0.75)) / 2, rel=1e-6)
    assert torch.isfinite(DiscreteHazards()(torch.full((1, 3), 1e4), torch.stack([survived[:1], failed[:1]], 1)))
