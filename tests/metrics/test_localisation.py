"""Scores of maps against masks: what a perfect map, a uniform one and one with ties are worth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medexp.errors import UserError
from medexp.metrics.localisation import (
    CHANCE,
    LocalisationScores,
    average_precision,
    best_threshold,
    compared,
    instance_scores,
)

SCORES = LocalisationScores()


def two_objects() -> np.ndarray:
    truth = np.zeros((12, 10), bool)
    truth[1:4, 1:4] = truth[8:11, 5:9] = True
    return truth


def test_the_mask_itself_is_the_perfect_map() -> None:
    row = SCORES.case(two_objects().astype(float), two_objects(), 0.5)
    assert row == {
        "pointing": 1, "average_precision": 1, "iou": 1, "box_recall_10": 1, "box_recall_30": 1, "boxes": 2
    }  # fmt: skip


def test_a_uniform_map_is_worth_the_share_of_the_mask() -> None:
    truth = two_objects()
    row = SCORES.case(np.ones(truth.shape), truth, 0.5)
    assert [row[name] for name in ("pointing", "average_precision", "iou")] == pytest.approx([truth.mean()] * 3)


def test_one_of_two_objects_found_is_half_of_the_boxes() -> None:
    truth = two_objects()
    values = np.zeros(truth.shape)
    values[1:4, 1:4] = 1
    row = SCORES.case(values, truth, 0.5)
    assert (row["box_recall_30"], row["pointing"]) == (0.5, 1)
    assert row["iou"] == pytest.approx(9 / 21)


def test_a_box_that_overlaps_by_a_fifth_counts_at_a_tenth_alone() -> None:
    truth, values = np.zeros((10, 10), bool), np.zeros((10, 10))
    truth[0:4, 0:5], values[0:2, 0:2] = True, 1.0
    row = SCORES.case(values, truth, 0.5)
    assert (row["box_recall_10"], row["box_recall_30"]) == (1, 0)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), levels=st.integers(2, 5))
def test_the_order_of_voxels_of_one_value_does_not_matter(seed: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    values, truth = rng.integers(0, levels, 40) / levels, rng.random(40) < 0.3
    truth[0] = True
    order = rng.permutation(40)
    assert average_precision(values, truth) == pytest.approx(average_precision(values[order], truth[order]))


def test_average_precision_is_that_of_torchmetrics() -> None:
    import torch
    from torchmetrics.functional.classification import binary_average_precision

    rng = np.random.default_rng(0)
    values, truth = rng.integers(0, 9, 200) / 9, rng.random(200) < 0.2
    wanted = binary_average_precision(torch.from_numpy(values), torch.from_numpy(truth).int())
    assert average_precision(values, truth) == pytest.approx(float(wanted))


def test_the_threshold_is_that_of_the_best_overlap() -> None:
    truth = two_objects()
    values = np.where(truth, 0.72, 0.58)
    assert best_threshold([(values, truth)]) in (0.6, 0.65, 0.7)


@pytest.mark.parametrize("name", CHANCE)
def test_what_knows_nothing_is_a_map_of_the_image_alone(name: str) -> None:
    one, again, other = (CHANCE[name]((9, 7, 5), seed) for seed in (0, 0, 1))
    assert one.shape == (9, 7, 5)
    assert one.min() >= 0
    assert one.max() == pytest.approx(1)
    assert np.array_equal(one, again)
    assert np.array_equal(one, other) == (name != "random")


def test_the_centre_is_the_largest_value_of_the_central_map() -> None:
    assert np.unravel_index(CHANCE["centre"]((9, 7), 0).argmax(), (9, 7)) == (4, 3)


def test_a_difference_has_an_interval_over_cases() -> None:
    rows = [{"iou": 0.5 + index / 100, "iou_random": 0.1} for index in range(20)]
    found = compared(rows, ["iou"], ["random"], seed=0)["random"]["iou"]  # type: ignore[arg-type]
    assert found["mean"] == pytest.approx(0.495)
    assert 0.4 < found["low"] < found["mean"] < found["high"] < 0.6


def test_an_empty_mask_cannot_be_scored() -> None:
    with pytest.raises(UserError, match="0 voxels: nothing to score"):
        SCORES.case(np.zeros((3, 3)), np.zeros((3, 3), bool), 0.5)


def test_instances_are_ranked_by_their_weights() -> None:
    weights, held = np.array([0.1, 0.4, 0.3, 0.2]), np.array([False, True, False, True])
    assert instance_scores(weights, held) == {"instance_auroc": 0.75, "instance_pointing": 1.0}
    assert instance_scores(np.full(4, 0.25), held) == {"instance_auroc": 0.5, "instance_pointing": 0.5}
    assert set(instance_scores(weights, held | True).values()) == {None}


def test_cases_without_instances_of_both_kinds_are_left_out_of_differences() -> None:
    rows = [{"instance_auroc": 0.9, "instance_auroc_untrained": 0.5}, {"instance_auroc": None}]
    found = compared(rows, [], ["untrained", "random"], seed=0)  # type: ignore[arg-type]
    assert list(found) == ["untrained"]
    gap = found["untrained"]["instance_auroc"]
    assert (gap["mean"], gap["low"], gap["high"]) == pytest.approx((0.4, 0.4, 0.4))
