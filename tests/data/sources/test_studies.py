"""Folders and tables of studies: what is a study, the order of its frames, and what is said of what is none."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tifffile
from layouts.sequences import write_frames, write_scan

from medexp.data import expand
from medexp.data.frames import count
from medexp.data.preparation.frames import read_frames
from medexp.data.sources import studies, visits
from medexp.errors import Faults, UserError


def test_frames_of_a_folder_are_a_study_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    write_frames(tmp_path / "a" / "one", count=12)
    (found,) = studies.records(tmp_path, spatial_dims=2)
    assert found.case_id == "a_one"
    assert [path.name for path in found.files] == [f"frame_{i}.tif" for i in range(12)]  # 2 before 10
    (again,) = studies.records(tmp_path / "a" / "one", spatial_dims=2)
    assert (again.case_id, again.files) == ("one", found.files)


def test_a_file_with_an_axis_of_time_is_a_study(tmp_path: Path) -> None:
    write_scan(tmp_path / "s" / "bold.nii.gz")
    found = expand.frames(studies.records(tmp_path), spatial_dims=3)
    assert [(record.case_id, count(record)) for record in found] == [("s_bold", 24)]


def test_a_stack_of_pictures_is_a_study_of_two_dimensions(tmp_path: Path) -> None:
    pages = np.random.default_rng(0).integers(0, 255, (5, 8, 9)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "film.tif", pages)
    (record,) = expand.frames(studies.records(tmp_path, spatial_dims=2), spatial_dims=2)
    scan = read_frames(record, spatial_dims=2, channels=1)
    np.testing.assert_array_equal(scan.array, pages)


def test_one_image_alone_is_left_aside_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_frames(tmp_path / "alone", count=1)
    write_frames(tmp_path / "more", count=2)
    with caplog.at_level("INFO"):
        assert [record.case_id for record in studies.records(tmp_path, spatial_dims=2)] == ["more"]
    assert f"{folder / 'frame_0.tif'}: one image is no study" in caplog.text
    with pytest.raises(UserError, match="no study of several frames"):
        studies.records(folder, spatial_dims=2)


def test_repeated_frames_are_left_out_where_that_is_asked_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_frames(tmp_path / "s", count=5)
    for twin, other in ((2, 1), (4, 3)):
        (folder / f"frame_{twin}.tif").write_bytes((folder / f"frame_{other}.tif").read_bytes())
    assert count(studies.records(tmp_path, spatial_dims=2)[0]) == 5
    with caplog.at_level("INFO"):
        (found,) = studies.records(tmp_path, spatial_dims=2, distinct=True)
    assert [path.name for path in found.files] == ["frame_0.tif", "frame_1.tif", "frame_3.tif"]
    assert found.times == (0.0, 1.0, 3.0)
    assert "2 frames repeat the one before" in caplog.text


def table(root: Path, *rows: str, head: str = "study,image,day,volume,sex,patient") -> Path:
    for row in rows:
        name = row.split(",")[1]
        nib.save(nib.Nifti1Image(np.zeros((2, 2, 2), np.float32), np.eye(4)), root / name)
    (root / "visits.csv").write_text("\n".join([head, *rows]) + "\n")
    return root


ROWS = ("b,b1.nii,9,3.5,f,q", "a,a2.nii,40,2,m,p", "a,a1.nii,10,1,m,p")


def test_rows_of_a_table_are_frames_in_the_order_of_time(tmp_path: Path) -> None:
    found = visits.records(table(tmp_path, *ROWS), time="day", value="volume", patient="patient")
    assert [(r.case_id, r.target, r.times, r.patient_id) for r in found] == [
        ("a", [1.0, 2.0], (10.0, 40.0), "p"),
        ("b", [3.5], (9.0,), "q"),
    ]
    assert [path.name for path in found[0].files] == ["a1.nii", "a2.nii"]


def test_without_time_rows_are_in_order_and_a_class_is_of_the_study(tmp_path: Path) -> None:
    found = visits.records(table(tmp_path, *ROWS), target="sex")
    assert [(r.target, r.times) for r in found] == [("m", None), ("f", None)]
    assert [path.name for path in found[0].files] == ["a2.nii", "a1.nii"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a,a3.nii,10,1,m,p", "study a: two frames were taken at 10"),
        ("a,a3.nii,x,1,m,p", "row 5, time: 'x' is no number"),
        ("a,a3.nii,7,,m,p", "row 5: column 'value' is empty"),
        ("a,a3.nii,7,1,m,other", "study a: rows differ in patient: other, p"),
        ("a,../a3.nii,7,1,m,p", "does not lie below"),
    ],
)
def test_wrong_rows_are_named(tmp_path: Path, row: str, message: str) -> None:
    root = tmp_path / "data"
    root.mkdir()
    with pytest.raises(Faults) as caught:
        visits.records(table(root, *ROWS, row), time="day", value="volume", patient="patient")
    assert any(message in problem for problem in caught.value.problems)


def test_a_missing_file_and_an_unknown_column_are_named(tmp_path: Path) -> None:
    root = table(tmp_path, *ROWS)
    (root / "a1.nii").unlink()
    with pytest.raises(Faults) as caught:
        visits.records(root, time="day")
    assert caught.value.problems == [f"row 4: {root / 'a1.nii'}: no such file"]
    with pytest.raises(UserError, match=r"dataset.source.time: no column 'days' .*; did you mean 'day'\?"):
        visits.records(root, time="days")
    with pytest.raises(UserError, match="there is a value a frame"):
        visits.records(root, value="volume", target="sex")


def test_a_dicom_series_of_time_points_is_a_study(real_data: object) -> None:
    root = real_data("dicom_epi_4d_ge")  # type: ignore[operator]
    (record,) = expand.frames(studies.records(root / "In"), spatial_dims=3)
    reference = nib.load(root / "Ref" / "DCM2NIIX_regression_test_4.nii")
    assert count(record) == reference.shape[3]
    scan = read_frames(record, spatial_dims=3, channels=1)
    wanted = np.asarray(reference.dataobj, np.float32)
    assert sorted(scan.array[3].ravel()[::97]) == sorted(np.flip(wanted[..., 3], 1).ravel()[::97])
