"""Scores of label maps: hand values, MONAI's values, the rule for empty masks."""

from __future__ import annotations

import csv
import io
import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.metrics import (
    compute_average_surface_distance,
    compute_dice,
    compute_hausdorff_distance,
    compute_iou,
    compute_surface_dice,
)
from scipy import ndimage

from medexp.errors import UserError
from medexp.metrics.segmentation import SegmentationScores
from medexp.metrics.surface import edges
from medexp.targets import IGNORED

CLASSES = ["background", "liver", "left kidney", "lesion"]


def random_map(shape: tuple[int, ...], seed: int, smooth: float = 0.8) -> np.ndarray:
    """Label map of CLASSES with ragged regions, some at the border."""
    rng = np.random.default_rng(seed)
    fields = np.stack([ndimage.gaussian_filter(rng.normal(size=shape), smooth) for _ in CLASSES])
    return fields.argmax(0).astype(np.uint8)


def monai_scores(prediction: np.ndarray, target: np.ndarray, spacing: tuple[float, ...], tolerance: float) -> Any:
    hot = [
        torch.stack([torch.as_tensor(labels == k) for k in range(len(CLASSES))])[None]
        for labels in (prediction, target)
    ]
    one, two = (mask.float() for mask in hot)
    space = {"spacing": list(spacing)}
    return {
        "dice": compute_dice(one, two, include_background=False)[0],
        "iou": compute_iou(one, two, include_background=False)[0],
        "hd95": compute_hausdorff_distance(one, two, percentile=95, **space)[0],
        "asd": compute_average_surface_distance(one, two, symmetric=True, **space)[0],
        "surface_dice": compute_surface_dice(one, two, [tolerance] * (len(CLASSES) - 1), **space)[0],
    }


def assert_as_monai(prediction: np.ndarray, target: np.ndarray, spacing: tuple[float, ...]) -> None:
    row = SegmentationScores(CLASSES, tolerance=1.05).case(prediction, target, spacing)
    for measure, values in monai_scores(prediction, target, spacing, 1.05).items():
        for name, value in zip(["liver", "left_kidney", "lesion"], values.tolist(), strict=True):
            assert row[f"{measure}_{name}"] == pytest.approx(value, rel=1e-6, abs=1e-6), (measure, name)
        assert row[measure] == pytest.approx(float(values.double().mean()), rel=1e-6, abs=1e-6)


# MONAI calls its own deprecated argument.
as_monai = pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")


@as_monai
@pytest.mark.parametrize(
    ("shape", "spacing"),
    [
        ((17, 23), (1.0, 1.0)),
        ((17, 23), (0.7, 2.3)),
        ((12, 14, 9), (1.0, 1.0, 1.0)),
        ((12, 14, 9), (0.6, 0.9, 2.5)),
    ],
)
@pytest.mark.parametrize("smooth", [0.4, 1.5])
def test_agrees_with_monai_on_ragged_maps(shape: tuple[int, ...], spacing: tuple[float, ...], smooth: float) -> None:
    assert_as_monai(random_map(shape, 1, smooth), random_map(shape, 2, smooth), spacing)


@as_monai
def test_agrees_with_monai_on_single_voxels_and_masks_at_the_border() -> None:
    prediction, target = np.zeros((2, 8, 9, 7), dtype=np.uint8)
    prediction[0, 0, 0], target[7, 8, 6] = 1, 1  # single voxels in opposite corners
    prediction[:, :4, 0], target[:, :5, 0] = 2, 2  # along a face
    prediction[4:, 5:, 3:], target[3:, 5:, 4:6] = 3, 3  # on three faces
    prediction[0, 0, 0], target[7, 8, 6] = 1, 1
    assert_as_monai(prediction, target, (0.8, 1.3, 3.0))


@pytest.mark.parametrize("shape", [(9, 11), (6, 7, 8)])
def test_edges_of_all_classes_are_those_of_erosion_class_by_class(shape: tuple[int, ...]) -> None:
    labels = random_map(shape, 3)
    edge = edges(labels)
    for label in range(len(CLASSES)):
        mask = labels == label
        assert np.array_equal(edge & mask, mask & ~ndimage.binary_erosion(mask))


@pytest.mark.parametrize("classes", [2, 16, 17, 256, 300])
def test_counts_are_those_of_every_class_by_itself(classes: int) -> None:
    rng = np.random.default_rng(classes)
    kind = np.min_scalar_type(classes - 1)
    prediction, target = (rng.integers(0, classes, (70, 60, 50)).astype(kind) for _ in range(2))
    prediction[:35], target[:40] = 0, 0
    prediction[-1, -1, -1] = target[-1, -1, -1] = classes - 1
    scorer = SegmentationScores(["rest", *(f"organ {index}" for index in range(1, classes))])
    counts = scorer._counts(prediction, target)
    assert counts.sum() == target.size
    assert counts.sum(0).tolist() == np.bincount(prediction.ravel(), minlength=classes).tolist()
    assert counts.sum(1).tolist() == np.bincount(target.ravel(), minlength=classes).tolist()
    agreed = [np.count_nonzero((prediction == label) & (target == label)) for label in range(classes)]
    assert counts.diagonal().tolist() == agreed


@as_monai
def test_agrees_with_monai_on_speckled_maps() -> None:
    rng = np.random.default_rng(0)
    target = random_map((40, 44, 36), 8, smooth=4.0)
    prediction = np.roll(target, (1, -2, 1), axis=(0, 1, 2))
    speckles = rng.random(target.shape) < 0.02
    prediction[speckles] = rng.integers(0, len(CLASSES), speckles.sum())
    assert_as_monai(prediction, target, (0.8, 0.8, 1.5))


def test_percentiles_of_many_distances_are_exact() -> None:
    # MONAI ranks in float32: among 10^5 distances its HD95 is off by up to a thousandth of a voxel.
    rng = np.random.default_rng(1)
    target = np.zeros((64, 64, 64), dtype=np.uint8)
    target[8:56, 8:56, 8:56] = 1
    prediction = np.where(rng.random(target.shape) < 0.2, 1, target).astype(np.uint8)
    spacing = (0.7, 0.9, 1.3)
    row = SegmentationScores(["rest", "organ"]).case(prediction, target, spacing)
    on = [mask & ~ndimage.binary_erosion(mask) for mask in (prediction == 1, target == 1)]
    far = [ndimage.distance_transform_edt(~edge, sampling=spacing) for edge in on]
    there, back = far[1][on[0]], far[0][on[1]]
    assert row["hd95"] == pytest.approx(max(np.percentile(there, 95), np.percentile(back, 95)), rel=1e-12)
    assert row["asd"] == pytest.approx(np.concatenate([there, back]).mean(), rel=1e-12)
    assert there.size > 40_000


def test_hand_values_of_a_shifted_square() -> None:
    target, prediction = np.zeros((2, 10, 10), dtype=np.int16)
    target[2:6, 2:6], prediction[2:6, 3:7] = 1, 1
    row = SegmentationScores(["rest", "organ"], tolerance=1.0).case(prediction, target, (1.0, 2.0))
    assert row["dice"] == row["dice_organ"] == pytest.approx(2 * 12 / 32)
    assert row["iou"] == pytest.approx(12 / 20)
    assert row["hd95"] == pytest.approx(2.0)  # one column of 2 mm
    # Each surface: 12 voxels. The column beyond the other (4) is 2 mm away; of the column inside the other, the two
    # voxels that are not corners are 1 mm away; the remaining 6 are shared.
    assert row["asd"] == pytest.approx((4 * 2 + 2 * 1) / 12)
    assert row["surface_dice"] == pytest.approx(8 / 12)
    assert row["area_error"] == 0
    assert row["area_error_mm2"] == 0


def test_volume_errors_are_relative_and_in_ml() -> None:
    target, prediction = np.zeros((2, 10, 10, 10), dtype=np.uint8)
    target[:5, :5, :4], prediction[:5, :5, :5] = 1, 1
    row = SegmentationScores(["rest", "organ"]).case(prediction, target, (2.0, 2.0, 2.0))
    assert row["volume_error"] == pytest.approx(0.25)
    assert row["volume_error_ml"] == pytest.approx(25 * 8 / 1000)


def test_distance_of_exactly_the_tolerance_is_within_it() -> None:
    target, prediction = np.zeros((2, 1, 12), dtype=np.uint8)
    target[0, 8], prediction[0, 9] = 1, 1
    row = SegmentationScores(["rest", "dot"], tolerance=0.7).case(prediction, target, (1.0, 0.7))
    assert row["surface_dice"] == 1  # 9 * 0.7 - 8 * 0.7 is not exactly 0.7


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31 - 1), st.sampled_from([(7, 8), (5, 6, 4)]), st.floats(0.1, 10))
def test_symmetric_perfect_and_linear_in_spacing(seed: int, shape: tuple[int, ...], factor: float) -> None:
    first, second = random_map(shape, seed, 0.7), random_map(shape, seed + 1, 0.7)
    spacing = (0.7, 1.1, 2.0)[: len(shape)]
    scorer = SegmentationScores(CLASSES)
    there, back = scorer.case(first, second, spacing), scorer.case(second, first, spacing)
    for measure in ("dice", "iou", "hd95", "asd", "surface_dice"):
        assert there[measure] == pytest.approx(back[measure])
    scaled = scorer.case(first, second, tuple(side * factor for side in spacing))
    assert scaled["hd95"] == pytest.approx(there["hd95"] * factor)
    assert scaled["asd"] == pytest.approx(there["asd"] * factor)
    assert scaled["dice"] == there["dice"]
    same = scorer.case(first, first, spacing)
    assert (same["dice"], same["iou"], same["surface_dice"], same["hd95"], same["asd"]) == (1, 1, 1, 0, 0)


def test_absent_class_is_blank_and_in_no_mean() -> None:
    target = np.zeros((6, 6), dtype=np.uint8)
    target[1:3, 1:3] = 1
    row = SegmentationScores(CLASSES).case(target, target, (1.0, 1.0))
    assert row["dice"] == row["dice_liver"] == 1
    assert all(
        row[f"{measure}_lesion"] is None for measure in ("dice", "iou", "hd95", "asd", "surface_dice", "area_error")
    )


@pytest.mark.parametrize("missed", [True, False])
def test_class_in_one_map_only_is_wholly_wrong(missed: bool) -> None:
    empty, full = np.zeros((2, 3, 4, 12), dtype=np.uint8)
    full[1, 1, 2] = 1
    prediction, target = (empty, full) if missed else (full, empty)
    row = SegmentationScores(["rest", "dot"]).case(prediction, target, (1.0, 1.0, 1.0))
    assert row["dice"] == row["iou"] == row["surface_dice"] == 0
    assert row["hd95"] == row["asd"] == pytest.approx(13.0)  # sqrt(3^2 + 4^2 + 12^2)
    assert row["volume_error"] == (1 if missed else None)
    assert row["volume_error_ml"] == pytest.approx(0.001)


def test_empty_maps_leave_a_blank_row() -> None:
    empty = np.zeros((4, 5), dtype=np.uint8)
    row = SegmentationScores(CLASSES).case(empty, empty, (1.0, 1.0))
    assert set(row.values()) == {None}


def test_background_is_scored_on_request() -> None:
    labels = random_map((8, 8), 5)
    row = SegmentationScores(CLASSES, include_background=True).case(labels, labels, (1.0, 1.0))
    assert row["dice_background"] == 1
    assert row["hd95_background"] == 0


def test_slice_stored_as_a_volume_scores_as_the_slice() -> None:
    first, second = random_map((14, 15), 6), random_map((14, 15), 7)
    scorer = SegmentationScores(CLASSES)
    flat, deep = (
        scorer.case(first, second, (1.0, 2.0)),
        scorer.case(first[..., None], second[..., None], (1.0, 2.0, 5.0)),
    )
    assert all(flat[measure] == pytest.approx(deep[measure]) for measure in ("dice", "hd95", "asd", "surface_dice"))


def summary_of_three() -> tuple[SegmentationScores, list[dict[str, Any]]]:
    scorer = SegmentationScores(["rest", "left kidney", "lesion"])
    kidney, both, none = np.zeros((3, 5, 5, 5), dtype=np.uint8)
    kidney[1:3, 1:3, 1:3], both[1:3, 1:3, 1:3] = 1, 1
    both[4, 4, 4] = 2
    pairs = [(kidney, kidney), (kidney, both), (none, none)]
    return scorer, [scorer.case(prediction, target, (1.0, 1.0, 1.0)) for prediction, target in pairs]


def test_summary_counts_absent_cases_and_is_strict_json() -> None:
    scorer, rows = summary_of_three()
    summary = scorer.summarize(rows)
    json.dumps(summary, allow_nan=False)
    assert summary["dice"]["mean"] == pytest.approx(0.75)  # cases: 1, (1 + 0) / 2, blank
    assert summary["dice"]["std"] == pytest.approx(math.sqrt(0.125))
    assert (summary["dice"]["n"], summary["dice"]["n_absent"]) == (2, 1)
    lesion = summary["hd95"]["per_class"]["lesion"]
    assert lesion == {"mean": pytest.approx(math.sqrt(75)), "std": None, "n": 1, "n_absent": 2}
    assert summary["dice"]["per_class"]["left kidney"]["mean"] == 1


def test_summary_is_the_same_from_a_csv_file() -> None:
    scorer, rows = summary_of_three()
    text = pd.DataFrame(rows).to_csv(index=False)
    read = list(csv.DictReader(io.StringIO(text)))
    assert scorer.summarize(read) == scorer.summarize(rows)


def test_summary_without_cases_says_so() -> None:
    summary = SegmentationScores(CLASSES).summarize([])
    json.dumps(summary, allow_nan=False)
    assert summary["dice"]["mean"] is None
    assert summary["dice"]["reason"] == "no cases"


@pytest.mark.parametrize(
    ("prediction", "spacing", "message"),
    [
        (np.zeros((3, 4), dtype=np.uint8), (1.0, 1.0), "on one grid"),
        (np.zeros((4, 4), dtype=np.uint8), (1.0, 1.0, 1.0), "on one grid"),
        (np.zeros((4, 4)), (1.0, 1.0), "holds integers"),
        (np.full((4, 4), 9), (1.0, 1.0), "0 to 3"),
        (np.full((4, 4), -1), (1.0, 1.0), "-1"),
    ],
)
def test_maps_that_cannot_be_scored_are_named(prediction: np.ndarray, spacing: tuple[float, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        SegmentationScores(CLASSES).case(prediction, np.zeros((4, 4), dtype=np.uint8), spacing)


@pytest.mark.parametrize("classes", [["only"], ["rest", "a b", "a_b"], ["rest", "ml", "error_ml"]])
def test_classes_that_make_no_table_are_refused(classes: list[str]) -> None:
    with pytest.raises(UserError, match="classes"):
        SegmentationScores(classes)


@pytest.mark.parametrize(("share", "sparse"), [(0.3, False), (0.9, True)])
def test_strokes_have_no_surfaces_and_no_volume(share: float, sparse: bool) -> None:
    """Where most voxels are not annotated, distances and volumes would be between scattered points."""
    target, rng = random_map((20, 20, 12), 0), np.random.default_rng(0)
    strokes = np.where(rng.random(target.shape) < share, IGNORED, target).astype(np.uint8)
    scorer = SegmentationScores(CLASSES)
    row = scorer.case(random_map(target.shape, 1), strokes, (1.0, 1.0, 1.0))
    assert row["dice"] is not None
    assert (row["hd95"] is None) == (row["volume_error_ml"] is None) == (row["surface_dice_liver"] is None) == sparse
    summary = scorer.summarize([row])
    assert summary["dice"]["n"] == 1
    assert (summary["asd"].get("reason") == "most voxels of every case are not annotated") == sparse
