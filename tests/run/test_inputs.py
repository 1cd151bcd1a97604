"""Which cases `predict` finds: in the layout of the run's data set, in plain folders, in folders below."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from layouts import bids as bids_layout
from layouts import nifti_folder as layout
from layouts import nnunet as nnunet_layout

from medexp.data.module import DataModule
from medexp.data.records import Record
from medexp.data.sources import bids, msd, nifti_folder, nnunet, object_masks
from medexp.data.splits.make import make_split
from medexp.errors import UserError
from medexp.run.inputs import inputs

SEQUENCES = ["{case}/FLAIR_*.nii.gz", "{case}/T1_*.nii.gz", "{case}/T1POST_*.nii.gz", "{case}/T2_*.nii.gz"]
LJUBLJANA = {"images": SEQUENCES, "label": "{case}/GOLD_STANDARD_*.nii.gz"}


def model(channels: int = 1, source: Callable[..., list[Record]] = msd.records, **options: Any) -> DataModule:
    """The data set of a run, whose root is gone."""
    given = {name: options.pop(name) for name in ("missing", "spatial_dims") if name in options}
    return DataModule(
        "gone",
        partial(source, **options),
        in_channels=channels,
        classes=["background", "lesion"],
        provides="mask",
        target="mask",
        split=make_split,
        **{"spatial_dims": 3, **given},
    )


def touch(root: Path, *names: str) -> Path:
    """Files of no content: no image is opened here."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def cases(found: list[Record], root: Path) -> dict[str, list[str | None]]:
    return {r.case_id: [None if path is None else str(path.relative_to(root)) for path in r.images] for r in found}


def test_patterns_of_the_run_find_all_channels_and_no_label_map(tmp_path: Path) -> None:
    root = layout.write(tmp_path / "new", patients=2)
    found = inputs(root, model(4, nifti_folder.records, **LJUBLJANA))
    assert [record.case_id for record in found] == ["patient01", "patient02"]
    for record in found:
        assert [path.name.split("_")[0] for path in record.files] == ["FLAIR", "T1", "T1POST", "T2"]
        assert record.label is None


def test_the_folder_of_one_patient_is_found_by_the_patterns_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = layout.write(tmp_path / "new", patients=2)
    monkeypatch.chdir(root)
    (record,) = inputs(Path("patient02"), model(4, nifti_folder.records, **LJUBLJANA))
    assert (record.case_id, len(record.files)) == ("patient02", 4)


@pytest.mark.parametrize("missing", ["error", "zero", "drop"])
def test_a_missing_modality_is_treated_as_in_training(
    missing: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = layout.write(tmp_path / "new", patients=2)
    next((root / "patient01").glob("T2*")).unlink()
    data = model(4, nifti_folder.records, missing=missing, **LJUBLJANA)
    if missing == "error":
        with pytest.raises(UserError, match=r"1 of 2 cases lack a channel.*FLAIR_") as caught:
            inputs(root, data)
        assert "case patient01 has 3 files, the model takes 4 channels: none for channel 3" in str(caught.value)
    else:
        assert [record.missing for record in inputs(root, data)] == ([(3,), ()] if missing == "zero" else [()])
        assert ("1 of 2 cases lack a channel (3)" in caplog.text) == (missing == "zero")


def test_bids_folders_are_listed_as_in_training(tmp_path: Path) -> None:
    root = bids_layout.write(tmp_path / "new", subjects=2)
    data = model(2, bids.records, suffix=["T1w", "T2w"], datatype="anat", label="derivatives/labels")
    assert [r.case_id for r in inputs(root, data)] == ["sub-00_ses-1", "sub-00_ses-2", "sub-01_ses-1"]
    shutil.rmtree(root / "derivatives")
    assert all(len(record.files) == 2 for record in inputs(root, data))
    (record,) = inputs(root / "sub-01", data)
    assert record.case_id == "sub-01_ses-1"


@pytest.mark.parametrize("part", ["", "imagesTs", "imagesTr"])
def test_nnunets_folders_need_no_description(part: str, tmp_path: Path) -> None:
    root = nnunet_layout.write(tmp_path / "new", cases=2)
    (root / "dataset.json").unlink()
    found = inputs(root / part, model(2, nnunet.records))
    names = {"imagesTs": ["prostate_02"], "imagesTr": ["prostate_00", "prostate_01"]}
    assert [r.case_id for r in found] == (names[part] if part else ["prostate_00", "prostate_01", "prostate_02"])
    assert all(len(record.files) == 2 for record in found)


def test_nnunets_single_channel_has_no_number_in_the_case_id(tmp_path: Path) -> None:
    root = touch(tmp_path, "a_0000.nii.gz", "b_0000.nii.gz")
    assert cases(inputs(root, model(1, nnunet.records)), root) == {"a": ["a_0000.nii.gz"], "b": ["b_0000.nii.gz"]}


def test_files_of_several_channels_are_one_case(tmp_path: Path) -> None:
    root = touch(tmp_path, "a_0000.png", "a_0001.png", "b_0000.png", "b_0001.png")
    data = partial(model, spatial_dims=2)
    both = {"a": ["a_0000.png", "a_0001.png"], "b": ["b_0000.png", "b_0001.png"]}
    assert cases(inputs(root, data(2)), root) == both
    (root / "b_0001.png").unlink()
    assert len(inputs(root, data(1))) == 3
    assert cases(inputs(root, data(2, missing="zero")), root) == {**both, "b": ["b_0000.png", None]}
    with pytest.raises(UserError, match=r"2 of 2 cases lack a channel.*CASE_0000 to CASE_0002") as caught:
        inputs(root, data(3))
    assert "case a has 2 files, the model takes 3 channels" in str(caught.value)
    touch(root, "a_0002.png")
    with pytest.raises(UserError, match=r"(?s)as one file with all 2 channels.*case a has 3 files.*a_0002\.png"):
        inputs(root, data(2))


def test_a_file_may_hold_all_channels(tmp_path: Path) -> None:
    root = touch(tmp_path, "a.nii.gz", "b.nii.gz")
    assert cases(inputs(root, model(4)), root) == {"a": ["a.nii.gz"], "b": ["b.nii.gz"]}
    assert cases(inputs(root / "a.nii.gz", model(4)), root) == {"a": ["a.nii.gz"]}


def test_a_folder_a_patient_is_searched_and_what_was_found_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = touch(tmp_path / "in", "p1/scan.nii.gz", "p2/visit1/scan.nii.gz", ".hidden/scan.nii.gz", "p2/notes.txt")
    touch(root, "p1/scan_seg.nii.gz")
    os.symlink(root, root / "p1" / "again")
    os.symlink(root / "p1", root / "twin")
    data = model(1, nifti_folder.records, images="img/{case}.nii.gz", label="{case}_seg.nii.gz")
    with caplog.at_level(logging.INFO):
        found = cases(inputs(root, data), root)
    assert found == {"p1_scan": ["p1/scan.nii.gz"], "p2_visit1_scan": ["p2/visit1/scan.nii.gz"]}
    assert "2 images in 2 folders below it, 2 cases" in caplog.text
    assert "1 label maps are left out" in caplog.text


def test_one_image_is_one_case(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        inputs(touch(tmp_path / "new", "a.nii.gz"), model())
    assert "1 image in it, 1 case" in caplog.text
    assert "1 images" not in caplog.text


def test_images_at_the_top_are_all_that_is_taken(tmp_path: Path) -> None:
    root = touch(tmp_path, "a.nii.gz", "below/b.nii.gz")
    assert list(cases(inputs(root, model()), root)) == ["a"]


def test_label_folders_and_earlier_predictions_are_no_cases(tmp_path: Path) -> None:
    root = touch(tmp_path, "imagesTr/a.nii.gz", "labelsTr/a.nii.gz", "out/imagesTr_a.nii.gz")
    assert list(cases(inputs(root, model(), root / "out"), root)) == ["imagesTr_a"]
    cells = touch(tmp_path / "cells", "c1/images/c1.png", "c1/masks/0.png", "c1/masks/1.png")
    data = model(3, object_masks.records, spatial_dims=2)
    assert list(cases(inputs(cells, data), cells)) == ["c1_images_c1"]


def test_where_all_files_are_named_like_label_maps_they_are_taken(tmp_path: Path) -> None:
    root = touch(tmp_path / "labelsTr", "a.nii.gz", "b.nii.gz")
    assert list(cases(inputs(root, model()), root)) == ["a", "b"]


def test_an_empty_file_beside_the_scans_is_not_taken_for_dicom(tmp_path: Path) -> None:
    root = touch(tmp_path, "p1/scan.nii.gz")
    (root / "p1" / "done").write_bytes(b"")
    assert list(cases(inputs(root, model()), root)) == ["p1_scan"]


def test_a_folder_without_images_is_answered_with_what_is_taken(tmp_path: Path) -> None:
    touch(tmp_path, "p1/notes.txt")
    data = model(4, nifti_folder.records, **LJUBLJANA)
    with pytest.raises(
        UserError, match=r"no image.*files CASE_0000 to CASE_0003, or folders as in training: \{case\}/F"
    ):
        inputs(tmp_path, data)
    with pytest.raises(UserError, match="is no image that can be read"):
        inputs(tmp_path / "p1/notes.txt", data)
