"""Checks of cases that read well: geometry, label values, twins; all faults are listed in one pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from medexp.data.images import Scan
from medexp.data.integrity import Report, check_records, displacement, errors, suspicions
from medexp.data.prepare import Preparation
from medexp.data.records import Record

CLASSES = ["background", "liver", "lesion"]
SHAPE = (6, 7, 8)
AFFINE = np.diag([2.0, 2.0, 5.0, 1.0])
Array = np.ndarray[Any, Any]


def scans(label: Array, affine: Array = AFFINE, image: Array | None = None) -> tuple[Record, Scan, Scan]:
    record = Record("case7", (Path("image.nii.gz"),), Path("label.nii.gz"))
    pixels = np.random.default_rng(0).normal(size=(1, *SHAPE)).astype(np.float32) if image is None else image
    return record, Scan(pixels, AFFINE, (2.0, 2.0, 5.0)), Scan(label, affine, (2.0, 2.0, 5.0))


def classes_map() -> Array:
    label = np.zeros(SHAPE, dtype=np.int32)
    label[1:3, 1:3, 1:3], label[4, 4, 4] = 1, 2
    return label


def test_a_sound_case_has_no_errors() -> None:
    assert errors(*scans(classes_map()), CLASSES) == []


def test_shapes_that_differ_are_both_shown() -> None:
    (found,) = errors(*scans(classes_map()[1:]), CLASSES)
    assert "case case7: label.nii.gz: label shape (5, 7, 8) differs from image shape (6, 7, 8)" in found


def test_values_outside_of_the_classes_are_listed_with_their_voxels() -> None:
    label = classes_map()
    label[0, 0, :3], label[5, 5, 5] = 255, -1
    (found,) = errors(*scans(label), CLASSES)
    assert "label values -1 (1 voxels), 255 (3 voxels) are outside of 0..2" in found
    assert "(dataset.classes: background, liver, lesion)" in found


def test_a_label_off_the_image_is_named_with_the_distance_in_voxels() -> None:
    moved = AFFINE.copy()
    moved[0, 3] = 3.0  # mm, so 1.5 voxels
    (found,) = errors(*scans(classes_map(), moved), CLASSES)
    assert "label lies 1.5 voxels off the image" in found
    moved[0, 3] = 0.1
    assert errors(*scans(classes_map(), moved), CLASSES) == []


def test_displacement_is_the_largest_at_any_corner_in_voxels() -> None:
    stretched = np.diag([2.0, 2.0, 5.5, 1.0])
    assert displacement(AFFINE, stretched, SHAPE) == pytest.approx(0.1 * (SHAPE[2] - 1))
    assert displacement(AFFINE, AFFINE, SHAPE) == 0
    assert displacement(AFFINE, np.diag([2.0, 3.0, 5.0, 1.0]), SHAPE[:2]) == pytest.approx(0.5 * (SHAPE[1] - 1))


def test_a_label_map_without_a_place_in_space_fits_any_image() -> None:
    image = Scan(np.zeros((1, 4, 4), np.float32), np.diag([0.5, 0.5, 1, 1]), (0.5, 0.5))
    label = Scan(np.zeros((4, 4), np.int32), np.eye(4), (1.0, 1.0))
    assert errors(Record("a", (Path("a.nii.gz"),), Path("a.png")), image, label, CLASSES) == []
    assert len(errors(Record("a", (Path("a.nii.gz"),), Path("b.nii.gz")), image, label, CLASSES)) == 1


def test_constant_images_and_empty_label_maps_are_suspicious() -> None:
    found = suspicions(*scans(np.zeros(SHAPE, np.int32), image=np.ones((1, *SHAPE), np.float32)))
    assert found == [
        "case case7: image.nii.gz: every voxel has the same value",
        "case case7: label.nii.gz: the label map is empty (background only)",
    ]
    assert suspicions(*scans(classes_map())) == []


def test_the_constant_channel_is_named() -> None:
    image = np.stack([np.arange(4.0).reshape(2, 2), np.ones((2, 2))]).astype(np.float32)
    record = Record("a", (Path("t1.png"), Path("t2.png")))
    assert suspicions(record, Scan(image, np.eye(4), (1.0, 1.0)), None) == [
        "case a: t2.png: every voxel has the same value"
    ]


def pictures(root: Path, **seeds: int) -> dict[str, Path]:
    for name, seed in seeds.items():
        Image.fromarray(np.random.default_rng(seed).integers(0, 255, (5, 5), np.uint8)).save(root / f"{name}.png")
    return {name: root / f"{name}.png" for name in seeds}


def check(records: list[Record], target: str = "index", dims: int = 2) -> Report:
    preparation = Preparation(spatial_dims=dims, in_channels=1)
    mask = target == "mask"
    return check_records(records, lambda record: preparation.read(record, with_label=mask), CLASSES, target)


def test_every_fault_of_every_case_is_listed_in_the_order_of_the_records(tmp_path: Path) -> None:
    paths = pictures(tmp_path, a=1, b=2, c=3)
    paths["b"].write_bytes(paths["b"].read_bytes()[:60])
    targets = dict(zip(paths, ["liver", "liver", "lever"], strict=True))
    records = [Record(name, (path,), target=targets[name]) for name, path in paths.items()]
    records.insert(0, Record("d", (tmp_path / "d.png",), target="liver"))
    report = check(records)
    assert report.cases == 4
    assert [line.split(": ")[0] for line in report.errors] == ["case d", "case b", "case c"]
    assert "no such file" in report.errors[0]
    assert "cannot be read as an image" in report.errors[1]
    assert "class 'lever' is not in dataset.classes; did you mean 'liver'?" in report.errors[2]


def test_faults_of_label_maps_are_listed(tmp_path: Path) -> None:
    def case(name: str, label: Array) -> Record:
        image = np.random.default_rng(len(name)).normal(size=SHAPE).astype(np.float32)
        for kind, array in (("image", image), ("label", label.astype(np.uint8))):
            nib.save(nib.Nifti1Image(array, AFFINE), tmp_path / f"{name}_{kind}.nii.gz")
        return Record(name, (tmp_path / f"{name}_image.nii.gz",), tmp_path / f"{name}_label.nii.gz")

    records = [case("a", classes_map()), case("bb", 3 * classes_map()), case("ccc", 0 * classes_map())]
    report = check(records, "mask", dims=3)
    assert len(report.errors) == 1
    assert "case bb: " in report.errors[0]
    assert "label values 3 (8 voxels), 6 (1 voxels) are outside of 0..2" in report.errors[0]
    assert len(report.warnings) == 1
    assert "case ccc: " in report.warnings[0]


def test_one_image_under_two_names_is_a_warning_and_in_two_parts_an_error(tmp_path: Path) -> None:
    paths = pictures(tmp_path, a=1, b=1, c=2)
    together = [Record(name, (path,), target="liver") for name, path in paths.items()]
    assert check(together).warnings == ["cases a, b: hold the same image"]
    assert check(together).errors == []
    parts = zip(paths.items(), ("train", "test", "val"), strict=True)
    apart = [Record(name, (path,), target="liver", split=part) for (name, path), part in parts]
    assert check(apart).errors == ["cases a, b: the same image is in two parts of the given split"]


def test_images_of_one_content_and_two_shapes_are_no_twins(tmp_path: Path) -> None:
    pixels = np.arange(12, dtype=np.uint8)
    for name, shape in (("a", (3, 4)), ("b", (4, 3))):
        Image.fromarray(pixels.reshape(shape)).save(tmp_path / f"{name}.png")
    report = check([Record(name, (tmp_path / f"{name}.png",), target="liver") for name in "ab"])
    assert (report.errors, report.warnings) == ([], [])
