"""Measures: standardised for the loss by the training split, in their own unit for everybody else."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from medexp.errors import UserError
from medexp.losses.distance import MeanSquaredError
from medexp.tasks.regression import Regression, Standard

TARGETS = torch.tensor([[10.0, 0.0], [20.0, 1.0], [60.0, 5.0]])
SPLIT = SimpleNamespace(training_targets=lambda: TARGETS)


class Fixed(nn.Module):
    """The first T pixels of an image as its scores."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count, self.weight = count, nn.Parameter(torch.ones(1))

    def forward(self, image: Tensor) -> Tensor:
        return image.flatten(1)[:, : self.count] * self.weight


def regression(make: Callable[..., Any], **options: Any) -> Regression:
    task: Regression = make(Regression, net=Fixed(2), loss=MeanSquaredError(), out_channels=2, **options)
    task.learn(SPLIT)
    return task


def batch(scores: list[list[float]], target: Tensor) -> dict[str, Any]:
    image = torch.zeros(len(scores), 1, 2, 2)
    image[:, 0, 0] = torch.tensor(scores)
    return {"image": image, "target": target, "case_id": [str(i) for i in range(len(scores))]}


def test_the_loss_is_fair_to_targets_of_any_scale_and_predictions_have_their_unit(make: Any) -> None:
    task = regression(make)
    mean, std = TARGETS.mean(dim=0), TARGETS.std(dim=0, correction=0)
    step = task.step(batch([[0.0, 0.0], [1.0, -1.0]], torch.stack([mean, mean])))
    assert step.loss.item() == pytest.approx(0.5)
    values = task.probabilities(step.scores)
    assert values.shape == (2, 2, 2)
    torch.testing.assert_close(values[1, 0], mean + torch.tensor([1.0, -1.0]) * std)
    torch.testing.assert_close(values[:, 1], mean.expand(2, 2))  # the mean predictor beside
    found, target = task.metric_inputs(step)
    torch.testing.assert_close(found, values[:, 0])
    assert torch.equal(target, torch.stack([mean, mean]))


@pytest.mark.parametrize("log", [False, True])
def test_values_go_there_and_back(log: bool) -> None:
    standard = Standard(2, log)
    standard.learn(TARGETS)
    torch.testing.assert_close(standard.back(standard(TARGETS)), TARGETS)
    scores = standard(TARGETS)
    torch.testing.assert_close(scores.mean(dim=0), torch.zeros(2), atol=1e-6, rtol=0)
    torch.testing.assert_close(scores.std(dim=0, correction=0), torch.ones(2))
    torch.testing.assert_close(standard.usual, TARGETS.mean(dim=0))  # in the own unit, also of logarithms


@given(st.floats(-1e6, 1e6))
@settings(max_examples=50, deadline=None)
def test_a_learnt_logarithm_gives_finite_values_of_zero_or_more(score: float) -> None:
    standard = Standard(2, logarithm=True)
    standard.learn(TARGETS)
    values = standard.back(torch.tensor([[score, -score]]))
    assert torch.isfinite(values.square()).all()
    assert (values >= 0).all()


def test_a_number_below_zero_has_no_logarithm() -> None:
    with pytest.raises(UserError, match=r"task.log: a target is -1, .* set task.log=false"):
        Standard(1, logarithm=True).learn(torch.tensor([[-1.0], [2.0]]))


def test_another_number_of_targets_than_outputs_is_said() -> None:
    with pytest.raises(UserError, match=r"dataset\.targets: 2 targets a case, task\.out_channels is 1"):
        Standard(1).learn(TARGETS)


def test_a_target_that_never_changes_is_said_and_harms_no_other(caplog: pytest.LogCaptureFixture) -> None:
    standard = Standard(2)
    with caplog.at_level(logging.WARNING, "medexp"):
        standard.learn(torch.tensor([[3.0, 1.0], [3.0, 2.0]]))
    assert "target 1 of dataset.targets is 3 in each of 2 training cases" in caplog.text
    assert torch.isfinite(standard(torch.tensor([[4.0, 1.5]]))).all()


def test_a_checkpoint_predicts_in_the_same_unit_without_the_training_split(make: Any, tmp_path: Path) -> None:
    task = regression(make)
    torch.save({"state_dict": task.state_dict()}, tmp_path / "a.ckpt")
    other = make(Regression, net=Fixed(2), loss=MeanSquaredError(), out_channels=2)
    other.load_state_dict(torch.load(tmp_path / "a.ckpt", weights_only=True)["state_dict"])
    scores = torch.tensor([[0.3, -2.0]])
    assert torch.equal(other.probabilities(scores), task.probabilities(scores))
