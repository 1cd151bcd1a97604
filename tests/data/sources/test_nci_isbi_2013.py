"""NCI-ISBI 2013: series and label maps pair by patient, and an official pair lies on one grid."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from layouts import dicom
from layouts import nci_isbi_2013 as nci

from medexp.data.images import read_image, read_label
from medexp.data.sources.nci_isbi_2013 import records
from medexp.errors import Faults, UserError
from medexp.run.train import start


def faults(root: Path) -> list[str]:
    with pytest.raises(Faults) as caught:
        records(root)
    return caught.value.problems


def test_patients_pair_and_keep_the_parts_of_the_challenge(tmp_path: Path) -> None:
    found = records(nci.write(tmp_path))
    parts = {record.case_id: record.split for record in found}
    assert len(found) == 10
    assert parts["ProstateDx-01-0001"] == parts["Prostate3T-01-0002"] == "train"
    assert parts["Prostate3T-02-0001"] == "val"
    assert parts["Prostate3T-03-0002"] == "test"
    assert all(record.patient_id == record.case_id for record in found)
    maps = {record.case_id: record.label for record in found}
    assert maps["Prostate3T-03-0002"] == tmp_path / "labels/Test/Prostate3T-03-0002_truth.nrrd"


def test_an_official_pair_has_one_shape_and_place(tmp_path: Path) -> None:
    """Label maps are in LPS on the grid of the DICOM volume: the same axes, origin and directions."""
    for record in records(nci.write(tmp_path)):
        image = read_image(record, spatial_dims=3, channels=1)
        label = read_label(record, spatial_dims=3)
        assert image.array.shape[1:] == label.array.shape == nci.SHAPE
        np.testing.assert_allclose(image.affine, label.affine, atol=1e-9)
        inside = image.array[0][label.array == 2].mean()
        assert inside - image.array[0][label.array == 0].mean() == pytest.approx(120, abs=8)


def test_of_several_series_the_one_on_the_label_maps_grid_is_taken(tmp_path: Path) -> None:
    root = nci.write(tmp_path)
    other = np.zeros((24, 20, 9), np.uint16)
    folder = root / "images/Prostate-3T/Prostate3T-01-0002/1.2/1.3"
    dicom.write_series(folder, other, series="dynamic", PatientID="Prostate3T-01-0002")
    found = {record.case_id: record for record in records(root)}
    assert found["Prostate3T-01-0002"].member == dicom.uid("Prostate3T-01-0002")
    dicom.write_series(folder.parent / "1.4", other[..., :6], series="adc", PatientID="Prostate3T-01-0002")
    assert any("2 of 3 series are on its grid (24, 20, 6)" in fault for fault in faults(root))


def test_patients_without_their_other_half_are_all_listed(tmp_path: Path) -> None:
    root = nci.write(tmp_path)
    (root / "labels/Training/ProstateDx-01-0001.nrrd").unlink()
    nci.write_patient(tmp_path / "elsewhere", "ProstateDx-01-0099", "Training").rename(
        root / "labels/Training/ProstateDx-01-0099.nrrd"
    )
    (tmp_path / "elsewhere").rename(tmp_path.parent / f"{tmp_path.name}_elsewhere")
    found = faults(root)
    assert len(found) == 2
    assert found[0].endswith("ProstateDx-01-0099.nrrd: no series of ProstateDx-01-0099")
    assert found[1] == "ProstateDx-01-0001: no label map of that name"


def test_two_label_maps_of_a_patient_or_of_none_are_listed(tmp_path: Path) -> None:
    root = nci.write(tmp_path)
    first = root / "labels/Training/ProstateDx-01-0001.nrrd"
    (root / "labels/Training/ProstateDx-01-0001_corrected.nrrd").write_bytes(first.read_bytes())
    (root / "labels/Training/case9.nrrd").write_bytes(first.read_bytes())
    found = faults(root)
    assert len(found) == 2
    assert "is of the same patient" in found[0]
    assert "case9.nrrd: its name begins with no patient" in found[1]


def test_label_maps_outside_of_the_parts_are_listed(tmp_path: Path) -> None:
    root = nci.write(tmp_path)
    (root / "labels/Test").rename(root / "labels/more")
    parts = "training, train, leaderboard, test, testing"
    assert faults(root) == [f"case Prostate3T-03-000{n}: not below {parts}" for n in (1, 2)]


def test_without_folders_of_parts_the_split_is_drawn(tmp_path: Path) -> None:
    root = nci.write(tmp_path)
    for part in ("Training", "Leaderboard", "Test"):
        for path in (root / "labels" / part).iterdir():
            path.rename(root / "labels" / path.name)
    assert {record.split for record in records(root)} == {None}


def test_patients_left_out_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = nci.write(tmp_path)
    with caplog.at_level(logging.INFO):
        found = records(root, left_out=["Prostate3T-01-0002", "ProstateDx-01-0055"])
    assert len(found) == 9
    assert "left out: Prostate3T-01-0002" in caplog.text


def test_a_root_without_label_maps_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no label map <patient>"):
        records(tmp_path)


def test_the_challenge_trains_a_step(tmp_path: Path) -> None:
    root = nci.write(tmp_path / "data")
    quick = ["debug=fast", "trainer=cpu", "trainer.precision=32-true", "trainer.check_val_every_n_epoch=1", "figures=0"]
    small = ["dataset.patch_size=[16,16,8]", "dataset.spacing=[1.5,2.0,4.0]", "dataset.batch_size=2"]
    host = ["experiment=segmentation/phantom", "dataset=nci_isbi_2013_prostate", f"dataset.root={root}"]
    start([*host, *small, *quick, f"run_dir={tmp_path / 'run'}"])
    assert (tmp_path / "run" / "summary.json").is_file()
