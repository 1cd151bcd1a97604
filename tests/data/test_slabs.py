"""One volume as train, val and test: slabs that share no voxel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from medexp.data.images import read_image
from medexp.data.records import Record
from medexp.data.slabs import Slabs
from medexp.errors import Faults, UserError


def scan(root: Path, affine: np.ndarray, shape: tuple[int, int, int] = (20, 6, 7)) -> Record:
    """A volume in which every voxel has a value of its own."""
    values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    nib.save(nib.Nifti1Image(values, affine), root / "scan.nii.gz")
    return Record("a", (root / "scan.nii.gz",), patient_id="p")


def parts(record: Record, **options: Any) -> dict[str, np.ndarray]:
    found = Slabs(**{"shares": (0.5, 0.2, 0.3), "gap": 0, **options}).cases([record])
    assert [one.case_id for one in found] == ["a_train", "a_val", "a_test"]
    assert [one.split for one in found] == ["train", "val", "test"]
    assert len({one.group for one in found}) == 3
    return {str(one.split): read_image(one, spatial_dims=3, channels=1).array[0] for one in found}


@pytest.mark.parametrize("flip", [1.0, -1.0])
def test_slabs_are_the_volume_cut_in_its_shares_from_left_to_right(tmp_path: Path, flip: float) -> None:
    affine = np.diag([flip * 0.7, 1.5, 2.0, 1.0])
    affine[:3, 3] = (11, -4, 3)
    record = scan(tmp_path, affine)
    whole = np.asarray(nib.load(record.files[0]).dataobj)  # type: ignore[attr-defined]  # of a NIfTI image
    found = parts(record)
    assert [len(part) for part in found.values()] == [10, 4, 6]
    order = list(found.values()) if flip > 0 else list(found.values())[::-1]
    np.testing.assert_array_equal(np.concatenate(order), whole)


def test_a_gap_keeps_neighbours_apart_and_a_turned_volume_is_cut_along_the_same_normal(tmp_path: Path) -> None:
    turned = np.array(
        [[0, 0, 1.0, 0], [1.0, 0, 0, 0], [0, -1.0, 0, 0], [0, 0, 0, 1.0]]
    )  # its third axis runs to the right
    record = scan(tmp_path, turned, (5, 6, 20))
    found = parts(record, gap=2)
    assert [part.shape for part in found.values()] == [(5, 6, 10), (5, 6, 2), (5, 6, 4)]
    assert found["train"][0, 0].tolist() == list(range(10))
    assert found["val"][0, 0].tolist() == [12, 13]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"plane": "axail"}, "dataset.slabs.plane: 'axail'; did you mean 'axial'"),
        ({"shares": [0.5, 0.5]}, r"dataset.slabs.shares: \[0.5, 0.5\]; give \[train, val, test\]"),
        ({"shares": [0.5, 0.3, 0.3]}, "add up to 1"),
        ({"shares": [float("nan"), 0.2, 0.2]}, r"dataset.slabs.shares: \[nan, 0.2, 0.2\]; give"),
        ({"gap": -1}, "dataset.slabs.gap: -1 is negative"),
    ],
)
def test_a_bad_value_is_named_with_its_key(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Slabs(**options)


def test_a_volume_too_thin_is_named(tmp_path: Path) -> None:
    with pytest.raises(Faults) as raised:
        Slabs("axial", gap=3).cases([scan(tmp_path, np.eye(4))])
    assert "7 axial slices leave none for val" in raised.value.problems[0]
