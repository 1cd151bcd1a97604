"""Features that say one thing of all images are warned of; what probes say is counted."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

from medexp.metrics.features import EffectiveRank, FeatureScores

NONE = torch.zeros(50, 1)


def rank(features: torch.Tensor) -> float:
    metric = EffectiveRank()
    for part in features.split(20):
        metric.update(part, NONE[: len(part)])
    return float(metric.compute())


def test_the_rank_counts_directions() -> None:
    torch.manual_seed(0)
    free = torch.randn(50, 6)
    assert 5 < rank(free) <= 6
    assert 2 < rank(free @ torch.diag(torch.tensor([1.0, 1, 1, 0, 0, 0]))) <= 3


@pytest.mark.parametrize("size", [1e-4, 0.0])
def test_features_that_are_one_point_are_warned_of(size: float, caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(0)
    with caplog.at_level(logging.WARNING):
        assert rank(torch.ones(50, 6) + size * torch.randn(50, 6)) == 1.0
    assert "features of 50 validation images have collapsed (effective rank 1.00)" in caplog.text


def test_features_on_a_line_are_warned_of_and_others_are_not(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        rank(torch.randn(50, 6))
        assert not caplog.records
        assert rank(torch.randn(50, 1) * torch.ones(1, 6)) < 1.01
    assert len(caplog.records) == 1


def test_probes_are_counted_by_class_and_blank_where_nothing_is_known() -> None:
    scores = FeatureScores(["a", "b"], {"knn": {}, "linear": {}})
    rows = [
        scores.case(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0])),
        scores.case(np.array([[0.7, 0.3], [0.2, 0.8]]), np.array([0])),
        scores.case(np.array([[0.6, 0.4], [np.nan, np.nan]]), np.array([1])),
        scores.case(np.array([[0.6, 0.4], [0.1, 0.9]]), np.array([-1])),
    ]
    assert rows[0] == {"label": "a", "knn": "a", "knn_correct": 1, "linear": "b", "linear_correct": 0}
    assert rows[2]["linear"] is None
    assert rows[3] == {"label": None, "knn": "a", "knn_correct": None, "linear": "b", "linear_correct": None}
    summary = scores.summarize(rows)
    assert summary["knn"]["mean"] == pytest.approx(2 / 3)
    assert summary["knn"]["per_class"]["b"]["mean"] == 0
    assert summary["knn_balanced"]["mean"] == 0.5
    assert summary["linear"]["n"] == 2
    assert FeatureScores(["a", "b"], {}).summarize(rows)["cases"]["n"] == 4
