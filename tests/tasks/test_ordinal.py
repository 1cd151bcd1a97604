"""Grades as yes-or-no answers that agree with each other."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from medexp.losses.binary_cross_entropy import BinaryCrossEntropy
from medexp.tasks.ordinal import Ordinal


class Answers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, image: Tensor) -> Tensor:
        return image.flatten(1) * self.weight


def ordinal(make: Any, **options: Any) -> Ordinal:
    task: Ordinal = make(Ordinal, net=Answers(), loss=BinaryCrossEntropy(), out_channels=3, **options)
    return task


def test_each_threshold_is_a_question(make: Any) -> None:
    image = torch.tensor([[2.0, -1.0, -3.0], [0.5, 0.5, 0.5]]).view(2, 1, 1, 3)
    step = ordinal(make).step({"image": image, "target": torch.tensor([[1], [3]])})
    answers = torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    torch.testing.assert_close(step.loss, BinaryCrossEntropy()(image.flatten(1), answers))


@given(st.lists(st.floats(-8, 8), min_size=3, max_size=3))
@settings(max_examples=60, deadline=None)
def test_probabilities_are_those_of_grades_whatever_the_answers(logits: list[float]) -> None:
    task = Ordinal.__new__(Ordinal)
    nn.Module.__init__(task)
    task.thresholds = None
    found = task.probabilities(torch.tensor([logits]))
    assert found.shape == (1, 4)
    assert (found >= 0).all()
    assert float(found.sum()) == pytest.approx(1, abs=1e-6)


def test_answers_that_agree_are_taken_as_they_are(make: Any) -> None:
    logits = torch.logit(torch.tensor([[0.9, 0.6, 0.1]]))
    found = ordinal(make).probabilities(logits)
    torch.testing.assert_close(found, torch.tensor([[0.1, 0.3, 0.5, 0.1]]))


def test_answers_with_shared_weights_never_contradict_each_other(make: Any) -> None:
    task = ordinal(make, coral=True)
    assert task.thresholds is not None
    logits = task._logits(torch.randn(20, 3))
    assert (
        logits[:, :-1] >= logits[:, 1:]
    ).all()  # as long as the thresholds descend, as they do where they are learnt
    torch.testing.assert_close(logits - logits[:1], (logits - logits[:1])[:, :1].expand(-1, 3))  # one score
    optimizers, _ = task.configure_optimizers()
    learnt = [id(parameter) for group in optimizers[0].param_groups for parameter in group["params"]]
    assert id(task.thresholds) in learnt


def test_metrics_see_the_median_grade(make: Any) -> None:
    task = ordinal(make)
    image = torch.tensor([[3.0, 3.0, -3.0], [-3.0, 0.0, 3.0]]).view(2, 1, 1, 3)
    said, truth = task.metric_inputs(task.step({"image": image, "target": torch.tensor([[1], [0]])}))
    assert said.tolist() == [2, 0]
    assert truth.tolist() == [1, 0]
