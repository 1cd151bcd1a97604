"""AUROC of validation epochs that may lack a class."""

from __future__ import annotations

import pytest
import torch
from torchmetrics.functional.classification import binary_auroc, multiclass_auroc, multilabel_auroc

from medexp.metrics.auroc import PresentAUROC


def random_batch(num_classes: int, cases: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(cases, num_classes, generator=generator)
    return scores, torch.randint(0, 2, (cases, num_classes), generator=generator)


def test_agrees_with_torchmetrics_for_index_binary_and_multilabel_targets() -> None:
    scores, labels = random_batch(3)
    probabilities, index = scores.softmax(1), torch.arange(40) % 3
    for given, target, expected in (
        (probabilities, index, multiclass_auroc(probabilities, index, 3)),
        (scores[:, :1], labels[:, :1], binary_auroc(scores[:, 0], labels[:, 0])),
        (scores, labels, multilabel_auroc(scores, labels, 3)),
    ):
        metric = PresentAUROC(given.shape[1])
        for start in range(0, 40, 16):  # batches
            metric.update(given[start : start + 16], target[start : start + 16])
        assert float(metric.compute()) == pytest.approx(float(expected), abs=1e-6)


def test_absent_class_is_left_out_of_the_mean_without_a_warning() -> None:
    metric = PresentAUROC(3)
    probabilities = torch.tensor([[0.7, 0.2, 0.1], [0.2, 0.7, 0.1], [0.6, 0.3, 0.1]])
    metric.update(probabilities, torch.tensor([0, 1, 0]))
    assert metric.compute() == 1


def test_no_class_to_score_gives_chance_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    metric = PresentAUROC(1)
    metric.update(torch.tensor([[0.1], [0.9]]), torch.zeros(2, 1, dtype=torch.int))
    assert metric.compute() == 0.5
    assert "chance" in caplog.text


def test_reset_forgets_the_epoch() -> None:
    metric = PresentAUROC(1)
    metric.update(torch.tensor([[0.1], [0.9]]), torch.tensor([[1], [0]]))
    assert metric.compute() == 0
    metric.reset()
    metric.update(torch.tensor([[0.1], [0.9]]), torch.tensor([[0], [1]]))
    assert metric.compute() == 1
