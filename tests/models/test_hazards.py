"""What scores mean for time: the baseline of proportional hazards, hazards in intervals, and that a checkpoint holds both."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import Tensor

from medexp.models.hazards import DiscreteHazards, Hazards, ProportionalHazards

TIMES = [4, 7, 4, 6, 1, 11, 1, 5, 4, 2, 4, 2, 6, 2, 4, 2, 14, 5, 2, 5, 1, 1, 2, 5, 14, 3, 4, 8, 4, 1]
EVENTS = [0, 1, 1, 1, 0, 0, 1, 0, 1, 1, 1, 1, 1, 0, 0, 1, 1, 1, 0, 0, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1]
RISKS = [-0.4, -1.5, -0.8, -0.7, 0.4, -1.3, -1.0, -2.3, 0.1, -1.6, -0.7, -0.3, 0.3, -0.2, -1.4, -0.5, -2.1, 0.6, -0.6]
RISKS += [-0.8, 0.1, -0.2, -0.9, -1.3, -1.4, -0.6, 0.4, -0.3, -0.4, 0.4]
TARGETS = torch.tensor([TIMES, EVENTS]).T.float()


def settled(head: Hazards, scores: Tensor) -> Hazards:
    head.learn(TARGETS)
    head.settle(scores, TARGETS)
    return head


def test_the_baseline_hazard_is_breslows() -> None:
    head = settled(ProportionalHazards(), torch.tensor(RISKS)[:, None])
    survival = head.survival(torch.tensor([[0.0], [1.0]]), torch.tensor([3.0, 5.0, 8.0]))
    cumulative = torch.tensor([0.47994826, 1.25340083, 3.17900261])  # scikit-survival 0.28, BreslowEstimator
    torch.testing.assert_close(survival[0], torch.exp(-cumulative))
    torch.testing.assert_close(survival[1], torch.exp(-cumulative * torch.e))


def test_everybody_survives_until_the_first_event_and_before_anything_was_settled() -> None:
    head = settled(ProportionalHazards(), torch.tensor(RISKS)[:, None])
    assert head.survival(torch.tensor([[3.0]]), torch.tensor([0.0, 0.999])).tolist() == [[1.0, 1.0]]
    fresh = ProportionalHazards()
    fresh.learn(TARGETS)
    assert fresh.survival(torch.tensor([[3.0]]), torch.tensor([5.0])).tolist() == [[1.0]]


def test_the_level_of_the_scores_is_the_baselines_business() -> None:
    scores, times = torch.tensor(RISKS)[:, None], torch.tensor([3.0, 8.0])
    curves = [settled(ProportionalHazards(), scores + shift).survival(scores + shift, times) for shift in (0.0, 60.0)]
    torch.testing.assert_close(*curves, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("make", [ProportionalHazards, lambda: DiscreteHazards(4)])
def test_a_head_that_saw_no_data_takes_its_times_from_a_checkpoint(make: type[Hazards]) -> None:
    width = 4 if not isinstance(make(), ProportionalHazards) else 1
    scores = torch.randn(len(TIMES), width, generator=torch.Generator().manual_seed(0))
    head, fresh, times = settled(make(), scores), make(), torch.tensor([2.5, 9.0])
    fresh.load_state_dict(head.state_dict())
    torch.testing.assert_close(fresh.survival(scores, times), head.survival(scores, times), rtol=0, atol=0)
    assert not torch.equal(head.survival(scores, times), torch.ones(len(TIMES), 2))


def test_intervals_hold_equally_many_events() -> None:
    head = DiscreteHazards(4)
    head.learn(torch.tensor([[float(time), 1.0] for time in range(1, 101)] + [[150.0, 0.0]]))
    assert head.edges.tolist() == pytest.approx([0, 25.75, 50.5, 75.25, 150])


def test_intervals_are_equally_long_where_events_are_too_few(caplog: pytest.LogCaptureFixture) -> None:
    head = DiscreteHazards(4)
    with caplog.at_level(logging.WARNING):
        head.learn(torch.tensor([[2.0, 1.0], [2.0, 1.0], [8.0, 0.0]]))
    assert head.edges.tolist() == [0, 2, 4, 6, 8]
    assert "4 intervals cannot hold equally many of 2 events" in caplog.text


def test_intervals_are_survived_failed_or_unknown() -> None:
    head = DiscreteHazards(3)
    head.edges.copy_(torch.tensor([0.0, 10.0, 20.0, 30.0]))
    targets = torch.tensor([[5.0, 1.0], [10.0, 1.0], [14.0, 0.0], [15.0, 0.0], [40.0, 1.0], [30.0, 0.0]])
    survived, failed = head.target(targets).unbind(1)
    assert survived.tolist() == [[0, 0, 0], [1, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 0], [1, 1, 1]]
    assert failed.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 0], [0, 0, 1], [0, 0, 0]]


def test_survival_falls_at_the_hazards_and_evenly_within_an_interval() -> None:
    head = DiscreteHazards(2)
    head.edges.copy_(torch.tensor([0.0, 10.0, 20.0]))
    scores = torch.tensor([[0.19, 0.5]]).logit()
    survival = head.survival(scores, torch.tensor([0.0, 5.0, 10.0, 20.0, 99.0]))
    torch.testing.assert_close(survival, torch.tensor([[1.0, 0.9, 0.81, 0.405, 0.405]]))
    sooner = torch.tensor([[0.5, 0.5]]).logit()
    assert head.risk(sooner) > head.risk(scores)
    lost = 20 - (10 * (1 + 0.81) / 2 + 10 * (0.81 + 0.405) / 2)
    assert head.risk(scores).item() == pytest.approx(lost, rel=1e-5)


def test_one_interval_is_no_course_of_time() -> None:
    with pytest.raises(ValueError, match="intervals=1; 2 or more"):
        DiscreteHazards(1)
