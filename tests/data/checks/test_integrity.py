"""Checks of cases that read well: geometry, label values, boxes, twins, classes; all faults are listed in one pass."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medexp.data.checks.facts import CaseFacts, measured
from medexp.data.checks.integrity import (
    box_faults,
    check_across,
    class_counts,
    class_warnings,
    faults,
    repeated,
    superfluous,
    suspicions,
    twins,
)
from medexp.data.formats.scan import Scan
from medexp.data.records import Box, Record

CLASSES = ["background", "liver", "lesion"]
SHAPE = (6, 7, 8)
AFFINE = np.diag([2.0, 2.0, 5.0, 1.0])
Array = np.ndarray[Any, Any]


def case(
    label: Array | None,
    affine: Array = AFFINE,
    image: Array | None = None,
    files: tuple[str, str] = ("i.nii.gz", "l.nii.gz"),
) -> tuple[Record, CaseFacts]:
    record = Record("case7", (Path(files[0]),), None if label is None else Path(files[1]))
    pixels = np.random.default_rng(0).normal(size=(1, *SHAPE)).astype(np.float32) if image is None else image
    scan = None if label is None else Scan(label, affine, (2.0, 2.0, 5.0))
    return record, measured(Scan(pixels, AFFINE, (2.0, 2.0, 5.0)), scan)


def found(*arguments: Any, **options: Any) -> list[str]:
    return faults(*case(*arguments, **options), CLASSES, "mask")


def classes_map() -> Array:
    label = np.zeros(SHAPE, dtype=np.int32)
    label[1:3, 1:3, 1:3], label[4, 4, 4] = 1, 2
    return label


def test_a_sound_case_has_no_faults() -> None:
    assert found(classes_map()) == []
    assert found(None) == []


def test_shapes_that_differ_are_both_shown() -> None:
    (line,) = found(classes_map()[1:])
    assert line == (
        "case case7: l.nii.gz: label shape (5, 7, 8) differs from image shape (6, 7, 8); resample one onto the other"
    )


def test_axes_in_another_order_are_told_from_another_grid() -> None:
    (line,) = found(classes_map().transpose(2, 0, 1))
    assert "label shape (8, 6, 7) differs from image shape (6, 7, 8); its axes stand in another order" in line


def test_values_outside_of_the_classes_are_listed_with_their_voxels() -> None:
    label = classes_map()
    label[0, 0, :3], label[5, 5, 5] = 255, -1
    (line,) = found(label)
    assert "label values -1 (1 voxels), 255 (3 voxels) are outside of 0..2" in line
    assert "(dataset.classes: background, liver, lesion)" in line
    many = np.arange(np.prod(SHAPE), dtype=np.int32).reshape(SHAPE)
    assert "7 (1 voxels) and 328 more are outside" in found(many)[0]


def test_a_label_off_the_image_is_named_with_the_distance_in_voxels() -> None:
    moved = AFFINE.copy()
    moved[0, 3] = 3.0  # mm, so 1.5 voxels
    (line,) = found(classes_map(), moved)
    assert "label lies 1.5 voxels off the image (affines differ)" in line
    moved[0, 3] = 0.1
    assert found(classes_map(), moved) == []


def test_a_label_in_another_orientation_is_named_with_both() -> None:
    flipped = AFFINE @ np.array([[-1, 0, 0, SHAPE[0] - 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    (line,) = found(classes_map(), flipped)
    assert "label lies 5.0 voxels off the image (image RAS, label LAS); mend or resample it" in line


@pytest.mark.parametrize(
    "files", [("i.nii.gz", "l.png"), ("i.png", "l.nii.gz"), ("i.nii.gz", "masks"), ("i.tif", "l.tif")]
)
def test_a_label_map_without_a_place_in_space_fits_any_image(files: tuple[str, str]) -> None:
    assert found(classes_map(), np.eye(4), files=files) == []


@pytest.mark.parametrize("files", [("i.nii.gz", "l.nii"), ("dicom_folder", "l.nii.gz")])
def test_a_label_map_with_a_place_must_lie_on_its_image(files: tuple[str, str]) -> None:
    assert len(found(classes_map(), np.eye(4), files=files)) == 1


def test_a_class_that_is_none_of_the_data_set_is_a_fault() -> None:
    record, facts = case(None)
    assert faults(replace(record, target="liver"), facts, CLASSES, "index") == []
    (line,) = faults(replace(record, target="lever"), facts, CLASSES, "index")
    assert "case case7: class 'lever' is not in dataset.classes; did you mean 'liver'?" in line


def test_constant_images_and_empty_label_maps_are_suspicious() -> None:
    assert suspicions(*case(np.zeros(SHAPE, np.int32), image=np.ones((1, *SHAPE), np.float32))) == [
        "case case7: i.nii.gz: every voxel has the same value",
        "case case7: l.nii.gz: the label map is empty (background only)",
    ]
    assert suspicions(*case(classes_map())) == []


def test_the_constant_channel_is_named() -> None:
    image = np.stack([np.arange(4.0).reshape(2, 2), np.ones((2, 2))]).astype(np.float32)
    facts = measured(Scan(image, np.eye(4), (1.0, 1.0)), None)
    several, one = Record("a", (Path("t1.png"), Path("t2.png"))), Record("a", (Path("both.png"),))
    assert suspicions(several, facts) == ["case a: t2.png: every voxel has the same value in channel 1"]
    assert suspicions(one, facts) == ["case a: both.png: every voxel has the same value in channel 1"]


def boxed(*boxes: Box, shape: tuple[int, ...] = (480, 640)) -> list[str]:
    return box_faults(Record("a", (Path("a.jpg"),), boxes=boxes), shape)


@pytest.mark.parametrize(
    ("box", "said"),
    [
        (Box("RBC", (10, 20), (5, 40)), "ends at row 5, where or before it begins (10)"),
        (Box("RBC", (10, 20), (15, 20)), "ends at column 20, where or before it begins (20)"),
        (Box("RBC", (-1, 20), (15, 40)), "begins 1 before the first row"),
        (Box("RBC", (10, -2.5), (15, 40)), "begins 2.5 before the first column"),
        (Box("RBC", (10, 20), (483, 40)), "ends 3 beyond the last row of 480"),
        (Box("RBC", (10, 20), (15, 641)), "ends 1 beyond the last column of 640"),
        (Box("RBC", (336, 503), (337, 504)), "is a single pixel (row 336, column 503): its corners coincide"),
        (Box("RBC", (float("nan"), 2), (3, 4)), "is not finite: (nan, 2) to (3, 4)"),
        (Box("RBC", (1, 2, 3), (4, 5, 6)), "has 3 axes, the image 2"),
        (
            Box("RBC", (470, 700), (490, 690)),
            "ends 10 beyond the last row of 480; ends at column 690, where or before it begins (700); "
            "ends 50 beyond the last column of 640",
        ),
    ],
)
def test_a_box_that_is_none_is_named_with_side_and_distance(box: Box, said: str) -> None:
    assert boxed(Box("WBC", (0, 0), (480, 640)), box) == [f"case a: a.jpg: box 2 'RBC' {said}"]


def test_all_bad_boxes_of_a_case_are_listed_and_sound_ones_are_not() -> None:
    bad = Box("x", (5, 5, 9), (7, 7, 8))
    assert [line.split("'")[0] for line in boxed(bad, Box("y", (0, 0, 0), (1, 2, 3)), bad, shape=(9, 9, 9))] == [
        "case a: a.jpg: box 1 ",
        "case a: a.jpg: box 3 ",
    ]
    assert box_faults(Record("a", (Path("a.jpg"),)), (480, 640)) == []


def test_a_box_as_thin_as_a_line_is_suspicious() -> None:
    facts = measured(Scan(np.arange(480.0 * 640).reshape(1, 480, 640), np.eye(4), (1.0, 1.0)), None)
    record = Record("a", (Path("a.jpg"),), boxes=(Box("RBC", (3, 5), (4, 50)), Box("RBC", (3, 5), (3, 50))))
    assert suspicions(record, facts) == ["case a: a.jpg: box 1 'RBC' is as thin as a line"]


@given(st.data())
def test_a_box_has_no_fault_where_and_only_where_it_is_a_part_of_the_image(data: st.DataObject) -> None:
    shape = data.draw(st.lists(st.integers(2, 9), min_size=2, max_size=3))
    lower = [data.draw(st.integers(-2, 10)) for _ in shape]
    upper = [data.draw(st.integers(-2, 11)) for _ in shape]
    voxels = np.zeros(shape, bool)
    inside = all(0 <= a < b <= n for a, b, n in zip(lower, upper, shape, strict=True))
    if inside:
        voxels[tuple(map(slice, lower, upper))] = True
    assert (boxed(Box("x", tuple(lower), tuple(upper)), shape=tuple(shape)) == []) == (voxels.sum() > 1)


def image(pixels: str, constant: bool = False) -> CaseFacts:
    return CaseFacts((8, 8), (1.0, 1.0), pixels, intensity=((0.0, 0.0 if constant else 9.0, 4.0, 2.0),))


SPLIT = {"train": ["a", "b", "e"], "val": ["c"], "test": ["d", "f"]}
RECORDS = [Record(name, (Path(f"{name}.png"),)) for name in "abcdef"]


def test_one_image_in_two_parts_is_an_error_and_every_group_is_listed() -> None:
    facts = {name: image(pixels) for name, pixels in zip("abcdef", "xyxyzx", strict=True)}
    assert check_across(SPLIT, facts, RECORDS) == [
        "cases a (train), c (val), f (test): the same image is in 3 parts of the split",
        "cases b (train), d (test): the same image is in 2 parts of the split",
    ]
    assert repeated(SPLIT, facts) == []


def test_leaving_out_the_superfluous_cases_mends_the_split_and_keeps_the_test_part_whole() -> None:
    facts = {name: image(pixels) for name, pixels in zip("abcdef", "xyxyzx", strict=True)}
    out = superfluous(SPLIT, facts)
    assert out == {
        "a": "the same image as case f of test, here in train",
        "c": "the same image as case f of test, here in val",
        "b": "the same image as case d of test, here in train",
    }
    left = {part: [case for case in cases if case not in out] for part, cases in SPLIT.items()}
    assert check_across(left, facts, RECORDS) == []


def test_one_image_twice_within_a_part_is_a_warning() -> None:
    facts = {name: image(pixels) for name, pixels in zip("abcdef", "xyzwxw", strict=True)}
    assert repeated(SPLIT, facts) == ["cases a, e: hold the same image", "cases d, f: hold the same image"]
    assert check_across(SPLIT, facts, RECORDS) == []
    assert superfluous(SPLIT, facts) == {}


def test_constant_and_unreadable_images_are_nobodys_twins() -> None:
    flat = {name: image("same", constant=True) for name in "abcd"}
    assert twins({**flat, "e": CaseFacts(errors=["broken"]), "f": CaseFacts(errors=["broken"])}) == []


def test_a_patient_in_two_parts_is_an_error_beside_the_twins() -> None:
    records = [replace(record, patient_id="p1") if record.case_id in "ad" else record for record in RECORDS]
    facts = {name: image(pixels) for name, pixels in zip("abcdef", "xyxuvw", strict=True)}
    assert check_across(SPLIT, facts, records) == [
        "one patient is in train (case a) and in test (case d)",
        "cases a (train), c (val): the same image is in 2 parts of the split",
    ]


def test_cases_out_of_the_split_belong_to_no_part() -> None:
    facts = {name: image(pixels) for name, pixels in zip("abcdefg", "xyzuvwx", strict=True)}
    records = [*RECORDS, Record("g", (Path("g.png"),))]
    assert check_across(SPLIT, facts, records) == []


def test_classes_are_counted_by_the_cases_of_each_part_that_have_them() -> None:
    facts = {
        name: replace(image(name), classes=classes)
        for name, classes in zip(
            "abcdef", ({0: 9, 1: 4}, {0: 9}, {0: 9, 2: 1}, {0: 9, 1: 1}, {0: 3, 1: 1, 2: 1}, {0: 1}), strict=True
        )
    }
    counts = class_counts(SPLIT, facts, RECORDS, [*CLASSES, "cyst"], "mask")
    assert counts == {
        "liver": {"train": 2, "val": 0, "test": 1},
        "lesion": {"train": 1, "val": 1, "test": 0},
        "cyst": {"train": 0, "val": 0, "test": 0},
    }
    assert class_warnings(counts) == [
        "class liver: no case in val (cases: train 2, test 1)",
        "class lesion: no case in test (cases: train 1, val 1)",
        "class cyst: no case has it; mend dataset.classes, or leave it out",
    ]


@pytest.mark.parametrize(
    ("target", "targets", "expected"),
    [
        ("index", ["x", "y", "x", "x", "x", "y"], {"x": (2, 1, 1), "y": (1, 0, 1)}),
        ("binary", ["x", "y", "x", "x", "x", "y"], {"x": (2, 1, 1), "y": (1, 0, 1)}),
        ("multilabel", [["x", "y"], ["y"], [], ["x"], [], [1, 1]], {"x": (1, 0, 2), "y": (2, 0, 1)}),
    ],
)
def test_classes_of_images_are_counted_likewise(
    target: str, targets: list[Any], expected: dict[str, tuple[int, int, int]]
) -> None:
    records = [replace(record, target=value) for record, value in zip(RECORDS, targets, strict=True)]
    counts = class_counts(SPLIT, {name: image(name) for name in "abcdef"}, records, ["x", "y"], target)
    assert {name: tuple(parts.values()) for name, parts in counts.items()} == expected
