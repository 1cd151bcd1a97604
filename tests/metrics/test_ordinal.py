"""Scores of grades."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medexp.metrics.ordinal import OrdinalScores, QuadraticKappa, median_grade

GRADES = ["none", "mild", "severe"]


def quadratic_kappa(truth: list[int], said: list[int]) -> float:
    """1 - mean squared distance over that of labels and grades that know nothing of each other (Cohen 1968)."""
    distances = (np.subtract.outer(np.asarray(truth), np.asarray(said))) ** 2
    return 1 - float(np.diagonal(distances).mean() / distances.mean())


def certain(grade: int) -> np.ndarray:
    return np.eye(3)[grade]


@given(st.lists(st.floats(0.01, 1), min_size=2, max_size=6))
@settings(max_examples=80, deadline=None)
def test_no_grade_is_expected_to_be_off_by_less_than_the_median_one(weights: list[float]) -> None:
    chances = torch.tensor(weights, dtype=torch.float64)
    chances = chances / chances.sum()
    grades = torch.arange(len(weights))
    expected = [float((chances * (grades - said).abs()).sum()) for said in grades]
    assert expected[int(median_grade(chances))] <= min(expected) + 1e-9


def test_a_case_is_graded_by_the_median_and_not_the_most_probable() -> None:
    row = OrdinalScores(GRADES).case(np.array([0.45, 0.15, 0.4]), np.array([2]))
    assert (row["prediction"], row["label"], row["correct"], row["grades_off"]) == ("mild", "severe", 0, 1)


def test_far_misses_count_more() -> None:
    scorer = OrdinalScores(GRADES)
    truth = [0, 0, 1, 2, 2, 2]
    for said in ([0, 0, 1, 2, 2, 1], [0, 0, 1, 2, 2, 0]):
        rows = [scorer.case(certain(one), np.array([other])) for one, other in zip(said, truth, strict=True)]
        found = scorer.summarize(rows)
        assert found["quadratic_kappa"]["mean"] == pytest.approx(quadratic_kappa(truth, said))
        assert found["mae"]["mean"] == pytest.approx((2 - said[-1]) / 6)
        assert found["accuracy"]["mean"] == pytest.approx(5 / 6)
    assert found["mae_median_predictor"]["mean"] == pytest.approx(5 / 6)  # the median grade here is mild


def test_one_grade_everywhere_has_no_kappa() -> None:
    scorer = OrdinalScores(GRADES)
    found = scorer.summarize([scorer.case(certain(1), np.array([1]))])
    assert found["quadratic_kappa"]["mean"] is None
    assert found["quadratic_kappa"]["reason"]
    metric = QuadraticKappa(3)
    metric.update(torch.tensor([1]), torch.tensor([1]))
    assert metric.compute() == 0
    assert scorer.summarize([])["mae"]["reason"] == "no cases"
