"""Slices and time points become cases that stay with their patient; headers alone are read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medexp.data.expand import slices, time_points
from medexp.data.images import read_image, read_label
from medexp.data.records import Record
from medexp.errors import Faults


def volume(path: Path, shape: tuple[int, ...], affine: np.ndarray | None = None) -> Path:
    voxels = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    nib.save(nib.Nifti1Image(voxels, np.eye(4) if affine is None else affine), path)
    return path


def test_every_slice_of_a_volume_is_a_case_of_its_patient(tmp_path: Path) -> None:
    image, label = volume(tmp_path / "a.nii.gz", (4, 5, 3)), volume(tmp_path / "l.nii.gz", (4, 5, 3))
    cases = slices([Record("a", (image,), label)], "axial")
    assert [case.case_id for case in cases] == ["a_0000", "a_0001", "a_0002"]
    assert {case.group for case in cases} == {"a"}
    whole = np.asarray(nib.load(image).dataobj)
    for index, case in enumerate(cases):
        np.testing.assert_array_equal(read_image(case, spatial_dims=2, channels=1).array[0], whole[..., index])
        np.testing.assert_array_equal(read_label(case, spatial_dims=2).array, whole[..., index])


def test_the_patient_of_the_record_is_kept(tmp_path: Path) -> None:
    image = volume(tmp_path / "a.nii", (4, 5, 3))
    assert {case.group for case in slices([Record("a", (image,), patient_id="p")], "sagittal")} == {"p"}
    assert len(slices([Record("a", (image,), patient_id="p")], "sagittal")) == 4


def test_pictures_have_no_slices(tmp_path: Path) -> None:
    image = volume(tmp_path / "a.nii", (4, 5))
    with pytest.raises(Faults, match=r"case a: is 2D \(4, 5\); dataset.plane=axial takes slices of volumes"):
        slices([Record("a", (image,))], "axial")


def test_every_broken_file_is_listed(tmp_path: Path) -> None:
    for name in ("a.nii", "b.nii"):
        (tmp_path / name).write_bytes(b"nothing")
    with pytest.raises(Faults) as caught:
        slices([Record(name, (tmp_path / f"{name}.nii",)) for name in "ab"], "axial")
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["case a", "case b"]


def test_every_time_point_is_a_case_of_its_patient(tmp_path: Path) -> None:
    image = volume(tmp_path / "a.nii.gz", (4, 5, 3, 6))
    cases = time_points([Record("a", (image,)), Record("b", (volume(tmp_path / "b.nii", (4, 5, 3)),))], channels=1)
    assert [case.case_id for case in cases] == [*(f"a_t{time:03d}" for time in range(6)), "b"]
    whole = np.asarray(nib.load(image).dataobj)
    np.testing.assert_array_equal(read_image(cases[4], spatial_dims=3, channels=1).array[0], whole[..., 4])


def test_channels_are_no_time_points(tmp_path: Path) -> None:
    record = Record("a", (volume(tmp_path / "a.nii.gz", (4, 5, 3, 2)),))
    assert time_points([record], channels=2) == [record]
    assert len(time_points([record], channels=1)) == 2


@pytest.mark.real_data
def test_an_fmri_is_its_time_points(real_data: Callable[[str], Path]) -> None:
    path = real_data("sct_testing_data") / "fmri" / "fmri.nii.gz"
    cases = time_points([Record("fmri", (path,))], channels=1)
    assert len(cases) == 30
    assert read_image(cases[29], spatial_dims=3, channels=1).array.shape == (1, 68, 68, 6)
