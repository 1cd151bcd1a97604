"""A whole data set looked at before training: cases and split together, and the real faults of real data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from medexp.data.checks import facts as facts_module
from medexp.data.checks.facts import CaseFacts
from medexp.data.checks.integrity import twins
from medexp.data.checks.survey import Findings, findings, given_split, survey
from medexp.data.preparation.prepare import Preparation
from medexp.data.records import Record
from medexp.data.sources import msd, table, voc

CLASSES = ["background", "liver", "lesion"]
AFFINE = np.diag([2.0, 2.0, 5.0, 1.0])
FLAT, SOLID = Preparation(spatial_dims=2, in_channels=1), Preparation(spatial_dims=3, in_channels=1)


def pictures(root: Path, **seeds: int) -> list[Record]:
    """A noisy picture a name; equal seeds are equal pictures."""
    for name, seed in seeds.items():
        Image.fromarray(np.random.default_rng(seed).integers(0, 255, (5, 5), np.uint8)).save(root / f"{name}.png")
    return [Record(name, (root / f"{name}.png",), target="liver") for name in seeds]


def check(records: list[Record], split: dict[str, list[str]] | None = None, target: str = "index") -> Findings:
    facts = survey(records, SOLID if target == "mask" else FLAT, CLASSES, target, None)
    return findings(
        records, facts, {"train": [r.case_id for r in records]} if split is None else split, CLASSES, target
    )


def test_every_fault_of_every_case_is_listed_in_the_order_of_the_records(tmp_path: Path) -> None:
    records = pictures(tmp_path, a=1, b=2, c=3)
    (tmp_path / "b.png").write_bytes((tmp_path / "b.png").read_bytes()[:60])
    records[2] = replace(records[2], target="lever")
    records.insert(0, Record("d", (tmp_path / "d.png",), target="liver"))
    found = check(records)
    assert [line.split(": ")[0] for line in found.errors] == ["case d", "case b", "case c"]
    assert "no such file" in found.errors[0]
    assert "cannot be read as an image" in found.errors[1]
    assert "class 'lever' is not in dataset.classes; did you mean 'liver'?" in found.errors[2]
    assert list(found.bad) == ["d", "b", "c"]
    assert found.bad["d"] == f"{tmp_path / 'd.png'}: no such file"
    assert found.remaining == []


def test_faults_of_label_maps_are_listed_and_warnings_are_grouped_by_kind(tmp_path: Path) -> None:
    def case(name: str, factor: int) -> Record:
        label = np.zeros((6, 7, 8), np.uint8)
        label[1:3, 1:3, 1:3], label[4, 4, 4] = factor, 2 * factor
        image = np.random.default_rng(len(name)).normal(size=label.shape).astype(np.float32)
        for kind, array in (("image", image), ("label", label)):
            nib.save(nib.Nifti1Image(array, AFFINE), tmp_path / f"{name}_{kind}.nii.gz")
        return Record(name, (tmp_path / f"{name}_image.nii.gz",), tmp_path / f"{name}_label.nii.gz")

    found = check([case("a", 1), case("bb", 3), case("ccc", 0)], target="mask")
    (error,) = found.errors
    assert "case bb: " in error
    assert "label values 3 (8 voxels), 6 (1 voxels) are outside of 0..2" in error
    assert {kind: [text.split(": ")[0] for text in texts] for kind, texts in found.warnings.items()} == {
        "empty label map": ["case ccc"]
    }
    assert found.classes == {"liver": {"train": 1}, "lesion": {"train": 1}}


def test_one_image_under_two_names_is_a_warning_and_in_two_parts_an_error(tmp_path: Path) -> None:
    records = pictures(tmp_path, a=1, b=1, c=2)
    together = check(records)
    assert together.warnings["same image twice"] == ["cases a, b: hold the same image"]
    assert together.errors == []
    apart = check(records, {"train": ["a"], "val": ["c"], "test": ["b"]})
    assert apart.errors == ["cases a (train), b (test): the same image is in 2 parts of the split"]
    assert apart.bad == {"a": "the same image as case b of test, here in train"}
    assert apart.remaining == []  # leaving out what is bad mends it


def test_a_patient_in_two_parts_remains_whatever_case_is_left_out(tmp_path: Path) -> None:
    records = [replace(record, patient_id="p") for record in pictures(tmp_path, a=1, b=2)]
    found = check(records, {"train": ["a"], "test": ["b"]})
    assert found.errors == found.remaining == ["one patient is in train (case a) and in test (case b)"]


def test_images_of_one_content_and_two_shapes_are_no_twins(tmp_path: Path) -> None:
    pixels = np.arange(12, dtype=np.uint8)
    for name, shape in (("a", (3, 4)), ("b", (4, 3))):
        Image.fromarray(pixels.reshape(shape)).save(tmp_path / f"{name}.png")
    found = check([Record(name, (tmp_path / f"{name}.png",), target="liver") for name in "ab"])
    assert found.errors == []
    assert "same image twice" not in found.warnings


def test_a_field_of_view_of_another_shape_is_a_fault(tmp_path: Path) -> None:
    (record,) = pictures(tmp_path, a=1)
    Image.fromarray(np.ones((4, 5), np.uint8)).save(tmp_path / "view.png")
    (error,) = check([replace(record, region=tmp_path / "view.png")]).errors
    assert error.startswith(f"case a: {tmp_path / 'view.png'}: field of view (4, 5) differs from image shape (5, 5)")


def test_a_second_look_reads_only_what_was_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    records = pictures(tmp_path / "data", a=1, b=2, c=3)
    cache, read = tmp_path / "cache", []  # type: ignore[var-annotated]
    reading = Preparation.read

    def counted(self: Preparation, record: Record, with_label: bool) -> object:
        read.append(record.case_id)
        return reading(self, record, with_label=with_label)

    monkeypatch.setattr(Preparation, "read", counted)

    def look(found: list[Record] = records) -> dict[str, CaseFacts]:
        return survey(found, FLAT, CLASSES, "index", cache)

    first = look()
    assert sorted(read) == ["a", "b", "c"]
    assert look() == first
    assert len(read) == 3
    pictures(tmp_path / "data", b=7)
    assert look()["b"].pixels != first["b"].pixels
    assert read[3:] == ["b"]
    wrong = look([replace(records[0], target="lever"), *records[1:]])
    assert "class 'lever'" in wrong["a"].errors[0]  # what a record says is never taken from the cache
    assert read[4:] == []
    monkeypatch.setattr(facts_module, "code_version", lambda: "another")
    look()
    assert sorted(read[4:]) == ["a", "b", "c"]


def test_the_given_split_is_what_records_name() -> None:
    records = [Record("a", (), split="train"), Record("b", (), split="test"), Record("c", ())]
    assert given_split(records) == {"train": ["a"], "val": [], "test": ["b"]}


@pytest.mark.real_data
def test_hippocampus_has_no_fault_and_two_scales_of_intensity(real_data: Callable[[str], Path]) -> None:
    records, classes = msd.records(real_data("msd_task04_hippocampus")), ["background", "anterior", "posterior"]
    facts = survey(records, SOLID, classes, "mask", None)
    found = findings(records, facts, given_split(records), classes, "mask")
    assert (len(facts), found.errors) == (120, [])
    assert {known.spacing for known in facts.values()} == {(1.0, 1.0, 1.0)}
    assert {known.axes for known in facts.values()} == {"RAS"}
    bright = [text for text in found.warnings["outlier"] if "mean intensity" in text]
    assert all(float(text.split("mean intensity ")[1].split()[0]) > 1e5 for text in bright)
    assert "case hippocampus_044: mean intensity 1.79e+05 (median 497.4, " in bright[0]
    assert set(found.warnings) == {"outlier"}  # of classes nothing: no case is in a part


@pytest.mark.real_data
def test_mednist_has_one_constant_picture(real_data: Callable[[str], Path]) -> None:
    records = table.records(real_data("mednist"))
    classes = ["AbdomenCT", "BreastMRI", "CXR", "ChestCT", "Hand", "HeadCT"]
    assert Counter(record.target for record in records) == dict.fromkeys(classes, 100)
    facts = survey(records, FLAT, classes, "index", None)
    found = findings(records, facts, {"train": [record.case_id for record in records]}, classes, "index")
    assert found.errors == []
    (constant,) = found.warnings["constant image"]
    assert constant.startswith("case HeadCT_002508: ")
    assert constant.endswith("every voxel has the same value")
    assert found.classes["HeadCT"] == {"train": 100}


@pytest.mark.real_data
def test_the_two_bad_boxes_of_bccd_are_named(real_data: Callable[[str], Path]) -> None:
    classes = ["RBC", "WBC", "Platelets"]
    records = voc.records(real_data("bccd"), classes=classes)
    records = [record for record in records if int(record.case_id.rsplit("_")[-1]) in range(330, 350)]
    found = survey(records, Preparation(spatial_dims=2, in_channels=3), classes, "multilabel", None)
    errors = [text.split("JPEGImages/")[1] for known in found.values() for text in known.errors]
    assert errors == [
        "BloodImage_00338.jpg: box 13 'RBC' is a single pixel (row 336, column 503): its corners coincide",
        "BloodImage_00343.jpg: box 4 'RBC' is a single pixel (row 328, column 180): its corners coincide",
    ]


@pytest.mark.real_data
def test_the_identical_frames_of_the_timelapse_are_twins(real_data: Callable[[str], Path]) -> None:
    frames = sorted((real_data("timelapse_drosophila") / "Sequence1").glob("*.tif*"))
    records = [Record(path.stem.rsplit("_")[-1], (path,)) for path in frames]
    facts = survey(records, Preparation(spatial_dims=2, in_channels=3), CLASSES, "index", None)
    assert twins(facts) == [["0002", "0003"], ["0005", "0006"], ["0008", "0009"]]
