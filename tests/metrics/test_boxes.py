"""Average precision and FROC: worked by hand, and held against MONAI's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.apps.detection.metrics.coco import COCOMetric
from monai.apps.detection.metrics.matching import matching_batch
from monai.data.box_utils import box_iou
from monai.metrics import compute_froc_curve_data, compute_froc_score

from medexp.metrics import boxes
from medexp.metrics.average_precision import BoxAveragePrecision
from medexp.metrics.boxes import RATES


def case(rng: np.random.Generator, axes: int, most: int = 8) -> tuple[Any, Any]:
    """Found objects (N, 2 * axes + 2), near true ones (M, 2 * axes + 1) or anywhere, of two classes."""
    true = rng.uniform(0, 40, (int(rng.integers(0, most)), axes))
    true = np.concatenate([true, true + rng.uniform(3, 12, true.shape), rng.integers(0, 2, (len(true), 1))], axis=1)
    near = true[rng.integers(0, len(true), 2 * len(true))] if len(true) else np.zeros((0, 2 * axes + 1))
    near[:, :-1] += np.tile(rng.normal(0, 1.5, (len(near), axes)), 2)
    else_where = rng.uniform(0, 40, (int(rng.integers(0, 4)), axes))
    far = np.concatenate([else_where, else_where + 6, rng.integers(0, 2, (len(else_where), 1))], axis=1)
    found = np.concatenate([near, far])
    scores = rng.permutation(np.linspace(0.1, 0.9, len(found)))[:, None]
    found = np.concatenate([found[:, :-1], scores, found[:, -1:]], axis=1)
    return found[np.argsort(-found[:, -2])], true


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), axes=st.sampled_from([2, 3]))
def test_average_precision_is_that_of_coco(seed: int, axes: int) -> None:
    rng = np.random.default_rng(seed)
    cases = [case(rng, axes) for _ in range(4)]
    if not all(any((true[:, -1] == kind).any() for _, true in cases) for kind in (0, 1)):
        return  # MONAI averages -1 in for a class without objects
    limits = [0.1, 0.5]
    coco = COCOMetric(["a", "b"], iou_list=limits, max_detection=[100], verbose=False)
    pairs = matching_batch(
        box_iou,
        coco.iou_thresholds,
        *([found[:, :-2] for found, _ in cases], [found[:, -1] for found, _ in cases]),
        *(
            [found[:, -2] for found, _ in cases],
            [true[:, :-1] for _, true in cases],
            [true[:, -1] for _, true in cases],
        ),
    )
    wanted = coco(pairs)[0]
    for limit in limits:
        for kind, name in enumerate("ab"):
            scores, right, count = [], [], 0
            for found, true in cases:
                mine, theirs = found[found[:, -1] == kind], true[true[:, -1] == kind]
                scores += mine[:, -2].tolist()
                right += (boxes.matched(boxes.overlaps(mine[:, :-2], theirs[:, :-1]), limit) >= 0).tolist()
                count += len(theirs)
            value = boxes.average_precision(np.array(scores), np.array(right, dtype=bool), count)
            # MONAI counts in float32, so that a recall may fall to the other side of one of the 101.
            assert value == pytest.approx(wanted[f"{name}_AP_IoU_{limit:.2f}_MaxDet_100"], abs=1 / 101)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_validation_and_the_functions_agree(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cases = [case(rng, 2) for _ in range(3)]
    metric = BoxAveragePrecision(num_classes=2, overlaps=[0.5])
    for found, true in cases:
        padding = torch.zeros(2, 6), torch.full((3, 5), -1.0)
        metric.update(
            torch.cat([torch.from_numpy(found).float(), padding[0]])[None],
            torch.cat([torch.from_numpy(true).float(), padding[1]])[None],
        )
    values = []
    for kind in (0, 1):
        scores, right, count = [], [], 0
        for found, true in cases:
            mine, theirs = found[found[:, -1] == kind], true[true[:, -1] == kind]
            scores += mine[:, -2].tolist()
            right += (boxes.matched(boxes.overlaps(mine[:, :-2], theirs[:, :-1]), 0.5) >= 0).tolist()
            count += len(theirs)
        if count:
            values.append(boxes.average_precision(np.array(scores), np.array(right, dtype=bool), count))
    assert float(metric.compute()) == pytest.approx(np.mean(values) if values else 0, abs=1e-6)


def test_the_metric_of_nothing_is_zero() -> None:
    metric = BoxAveragePrecision(num_classes=1)
    metric.update(torch.zeros(2, 0, 6), torch.zeros(2, 0, 5))
    assert float(metric.compute()) == 0


def test_average_precision_by_hand() -> None:
    """Two objects: right, wrong, right. Precision 1 up to a recall of 1/2, 2/3 beyond: 51 and 50 of the 101 recalls."""
    value = boxes.average_precision(np.array([0.7, 0.9, 0.8]), np.array([True, True, False]), 2)
    assert value == pytest.approx((51 * 1 + 50 * 2 / 3) / 101)
    assert boxes.average_precision(np.zeros(0), np.zeros(0, bool), 2) == 0


def test_a_box_takes_the_free_object_of_the_largest_overlap() -> None:
    iou = np.array([[0.6, 0.5, 0.0], [0.9, 0.4, 0.0], [0.2, 0.05, 0.09]])
    assert boxes.matched(iou, 0.1).tolist() == [0, 1, -1]
    assert boxes.matched(iou, 0.5).tolist() == [0, -1, -1]
    assert boxes.matched(np.zeros((2, 0)), 0.1).tolist() == [-1, -1]


def test_one_more_hit_of_an_object_is_neither_right_nor_wrong() -> None:
    hits = np.array([[True, False], [True, False], [False, False], [True, True]])
    assert boxes.first_hits(hits).tolist() == [0, -2, -1, 1]


def test_a_centre_is_near_within_the_ellipsoid_of_the_box() -> None:
    true = np.array([[0.0, 0, 10, 20]])
    found = np.array([[4.0, 18, 6, 20], [0, 0, 2, 2], [4, 9, 6, 11.0]])  # centres (5, 19), (1, 1), (5, 10)
    assert boxes.nearby(found, true).tolist() == [[True], [False], [True]]


def test_froc_by_hand() -> None:
    """Four scans, four objects; hits at .9, .7, .7, false positives at .8, .6, .5."""
    rates, sensitivity, scores = boxes.froc(np.array([0.9, 0.7, 0.7]), np.array([0.8, 0.6, 0.5]), 4, 4)
    assert rates.tolist() == [0, 0, 0.25, 0.25, 0.5, 0.75]
    assert sensitivity.tolist() == [0, 0.25, 0.25, 0.75, 0.75, 0.75]
    assert scores.tolist() == [np.inf, 0.9, 0.8, 0.7, 0.6, 0.5]
    assert boxes.sensitivity_at(rates, sensitivity, [0.125, 0.5, 8]) == [0.25, 0.75, 0.75]


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_froc_is_monai_s(seed: int) -> None:
    """MONAI leaves the lowest score out of its curve, so that of one more box, which is none of ours, stands in for it."""
    rng = np.random.default_rng(seed)
    right, wrong = (rng.integers(1, 100, int(rng.integers(1, 20))) / 100 for _ in range(2))
    scans, count = int(rng.integers(1, 6)), len(right) + int(rng.integers(0, 4))
    rates, sensitivity = compute_froc_curve_data(np.append(wrong, 0.0), right, count, scans)
    mine = boxes.froc(right, wrong, count, scans)
    assert mine[0].tolist() == rates[::-1].tolist()
    assert mine[1].tolist() == sensitivity[::-1].tolist()
    score = np.mean(boxes.sensitivity_at(*mine[:2]))
    assert score == pytest.approx(compute_froc_score(rates, sensitivity, RATES))
