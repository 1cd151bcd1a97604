"""Series below a root become cases without a word of who the patient is; what is left out is said."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nrrd
import numpy as np
import pytest
from layouts import dicom
from layouts.nci_isbi_2013 import header

from medexp.data.records import Record
from medexp.data.sources.dicom import records
from medexp.errors import Faults, UserError
from medexp.run.train import start

VOLUME = np.random.default_rng(0).integers(0, 4000, (8, 7, 6)).astype(np.int16)


def write_classes(root: Path, patients: int = 6) -> Path:
    """root/<class>/<patient>/t2 with a bright block in the second class."""
    for number in range(2 * patients):
        kind = ("benign", "malignant")[number % 2]
        volume = VOLUME.copy()
        volume[2:5, 2:5, 2:5] += 3000 * (number % 2)
        folder = root / kind / f"p{number:02d}" / "t2"
        dicom.write_series(folder, volume + number, series=f"s{number}", PatientID=f"Roe^{number}")
    return root


def write_masked(root: Path, patients: int = 8, end: str = ".nrrd") -> Path:
    """root/scans/<patient> and root/masks/scans_<patient>.nrrd on the same grid."""
    rng = np.random.default_rng(0)
    for number in range(patients):
        label = np.zeros((16, 14, 12), np.uint8)
        label[3:9, 3:9, 3:9] = 1
        image = (rng.normal(100, 9, label.shape) + 90 * label).astype(np.int16)
        folder = dicom.write_series(
            root / "scans" / f"p{number}", image, series=f"s{number}", PatientID=f"Roe^{number}"
        )
        (root / "masks").mkdir(exist_ok=True)
        where = header(np.diag([1.5, 2.0, 4.0]), (-30.0, -40.0, 50.0))
        nrrd.write(str(root / "masks" / f"scans_{folder.name}{end}"), label, where)
    return root


def no_name(found: list[Record]) -> None:
    assert "Roe" not in repr(found)


def test_each_series_is_a_case_named_after_its_folder(tmp_path: Path) -> None:
    dicom.write_series(tmp_path / "a" / "one", VOLUME, series="1")
    dicom.write_series(tmp_path / "b", VOLUME, series="2", SeriesNumber=4, end="_2.dcm")
    dicom.write_series(tmp_path / "b", VOLUME, series="3", SeriesNumber=5, end="_3.dcm", PatientID="other")
    found = records(tmp_path)
    assert [record.case_id for record in found] == ["a_one", "b_4", "b_5"]
    assert [record.member for record in found] == [dicom.uid("1"), dicom.uid("2"), dicom.uid("3")]
    assert found[0].images == (tmp_path / "a" / "one",)
    assert found[0].patient_id == found[1].patient_id != found[2].patient_id
    assert len(found[0].patient_id) == 16
    no_name(found)


def test_a_root_that_is_the_folder_of_the_series_names_the_case(tmp_path: Path) -> None:
    dicom.write_series(tmp_path / "scan7", VOLUME)
    assert [record.case_id for record in records(tmp_path / "scan7")] == ["scan7"]


def test_series_of_one_number_get_ids_of_their_own(tmp_path: Path) -> None:
    for name in ("1", "2"):
        dicom.write_series(tmp_path / "b", VOLUME, series=name, end=f"_{name}.dcm")
    ids = [record.case_id for record in records(tmp_path)]
    assert len(set(ids)) == 2
    assert all(case.startswith("b_") and len(case) == 10 for case in ids)


def test_what_is_no_volume_is_left_out_by_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    dicom.write_series(tmp_path / "p1" / "t2", VOLUME)
    scout: dict[str, Any] = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"], "SeriesDescription": "scout"}
    dicom.write_series(tmp_path / "p1" / "loc", VOLUME, series="scout", **scout)
    dicom.write_series(tmp_path / "p1" / "one", VOLUME[..., :1], series="single", SeriesDescription="key image")
    nowhere: dict[str, Any] = {"ImagePositionPatient": None, "SOPClassUID": dicom.SECONDARY}
    screens = dicom.write_series(tmp_path / "p1" / "shots", VOLUME, series="shots")
    for path in screens.iterdir():
        dicom.save(dicom.slice_dataset(VOLUME[..., 0], series="shots", name=path.name, **nowhere), path)
    report = dicom.slice_dataset(VOLUME[..., 0], series="report", SOPClassUID=dicom.REPORT, Modality="SR")
    for tag in ("PixelData", "Rows", "Columns", "BitsAllocated"):
        del report[tag]
    dicom.save(report, tmp_path / "p1" / "t2" / "report.dcm")
    with caplog.at_level(logging.INFO):
        found = records(tmp_path)
    assert [record.case_id for record in found] == ["p1_t2"]
    for words in ("scout .*: localizer", "key image .*: a single image", "no ImagePositionPatient", r"modality SR"):
        assert re.search(words, caplog.text), words
    assert "Roe" not in caplog.text


def test_loops_of_links_are_walked_once(tmp_path: Path) -> None:
    dicom.write_series(tmp_path / "a", VOLUME)
    (tmp_path / "a" / "back").symlink_to(tmp_path)
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert [record.case_id for record in records(tmp_path)] == ["a"]


def test_a_folder_in_which_nothing_can_be_read_stops_with_every_file(tmp_path: Path) -> None:
    dicom.write_series(tmp_path / "good", VOLUME)
    for path in dicom.write_series(tmp_path / "bad", VOLUME, series="2").iterdir():
        path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(Faults) as caught:
        records(tmp_path)
    assert len(caught.value.problems) == 6
    assert all("/bad/" in problem and "truncated" in problem for problem in caught.value.problems)


def test_images_are_cases_of_their_own_in_two_dimensions(tmp_path: Path) -> None:
    for kind in ("normal", "pneumonia"):
        for number in range(2):
            dataset = dicom.slice_dataset(VOLUME[..., 0], series=f"{kind}{number}", PatientID=f"{kind}{number}")
            dicom.save(dataset, tmp_path / kind / f"x{number}.dcm")
    found = records(tmp_path, spatial_dims=2, target="folder")
    assert [record.case_id for record in found] == ["normal_x0", "normal_x1", "pneumonia_x0", "pneumonia_x1"]
    assert [record.target for record in found] == ["normal", "normal", "pneumonia", "pneumonia"]
    assert found[0].images == (tmp_path / "normal" / "x0.dcm",)
    assert all(record.member is None for record in found)


def test_the_class_is_the_first_folder_or_in_a_table(tmp_path: Path) -> None:
    root = write_classes(tmp_path, patients=2)
    found = records(root, target="folder")
    assert {record.case_id: record.target for record in found} == {
        f"{kind}_p{n:02d}_t2": kind for n, kind in enumerate(["benign", "malignant"] * 2)
    }
    (root / "labels.csv").write_text("case,label\n" + "".join(f"{r.case_id},a\n" for r in found))
    assert {record.target for record in records(root, target="labels.csv")} == {"a"}
    (root / "labels.csv").write_text("case,label\nbenign_p00_t2,a\nnobody,b\n")
    with pytest.raises(Faults) as caught:
        records(root, target="labels.csv")
    assert "row 'nobody': there is no such case" in caught.value.problems
    assert len(caught.value.problems) == 4


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (None, "no such table"),
        ("name,label\nx,a\n", "needs the columns case and label; its first row names name, label"),
        ("case,label\nx,a\nx,b\n", "case x: stands 2 times"),
        ("case,label\nx,\n", "case x: has no class"),
    ],
)
def test_a_table_of_classes_that_cannot_be_used_is_said(tmp_path: Path, table: str | None, message: str) -> None:
    dicom.write_series(tmp_path / "x", VOLUME)
    if table is not None:
        (tmp_path / "labels.csv").write_text(table)
    with pytest.raises(UserError, match=message):
        records(tmp_path, target="labels.csv")


def test_patients_are_folders_where_the_header_names_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    dicom.write_series(tmp_path / "c" / "p1" / "t2", VOLUME, PatientID=None)
    with caplog.at_level(logging.INFO):
        assert records(tmp_path)[0].patient_id == "c_p1_t2"
    assert "no PatientID in c/p1/t2" in caplog.text
    assert records(tmp_path, patient="folder")[0].patient_id == "c"
    assert records(tmp_path, patient="folder", target="folder")[0].patient_id == "p1"
    with pytest.raises(UserError, match="'name' is not one of header, folder"):
        records(tmp_path, patient="name")


@pytest.mark.parametrize("labels", ["masks", "masks/{case}.nrrd"])
def test_label_maps_are_found_by_case(tmp_path: Path, labels: str) -> None:
    root = write_masked(tmp_path, patients=2)
    found = records(root, labels=labels)
    assert [record.label for record in found] == [root / "masks" / f"scans_p{n}.nrrd" for n in range(2)]
    (root / "masks" / "scans_p1.nrrd").rename(root / "masks" / "scans_p7.nrrd")
    with pytest.raises(Faults) as caught:
        records(root, labels=labels)
    assert any(problem.startswith("case scans_p1: ") for problem in caught.value.problems)
    assert any("scans_p7.nrrd: no series" in problem for problem in caught.value.problems) == (labels == "masks")


@pytest.mark.parametrize("labels", ["nowhere", "../masks"])
def test_a_folder_of_label_maps_must_be_there(tmp_path: Path, labels: str) -> None:
    dicom.write_series(tmp_path / "x", VOLUME)
    with pytest.raises(UserError, match=r"is not a folder|does not lie below"):
        records(tmp_path, labels=labels)


QUICK = ["debug=fast", "trainer=cpu", "trainer.precision=32-true", "trainer.check_val_every_n_epoch=1", "figures=0"]


def test_classes_of_series_train_a_step(tmp_path: Path) -> None:
    root = write_classes(tmp_path / "data")
    data = [f"dataset.root={root}", "dataset.classes=[benign,malignant]", "dataset.image_size=[16,16,16]"]
    host = ["experiment=classification/phantom_presence", "dataset=dicom", *data]
    start([*host, *QUICK, "dataset.batch_size=2", f"run_dir={tmp_path / 'run'}"])
    assert (tmp_path / "run" / "summary.json").is_file()


def test_series_with_label_maps_train_a_step(tmp_path: Path) -> None:
    root = write_masked(tmp_path / "data")
    data = [f"dataset.root={root}", "dataset.classes=[background,lesion]", "dataset.patch_size=[16,16,16]"]
    host = ["experiment=segmentation/phantom", "dataset=dicom_masks", *data]
    start([*host, *QUICK, "dataset.batch_size=2", f"run_dir={tmp_path / 'run'}"])
    assert (tmp_path / "run" / "summary.json").is_file()


@pytest.mark.real_data
def test_a_real_archive_is_one_case(real_data: Callable[[str], Path]) -> None:
    found = records(real_data("dicom_epi_4d_ge"))
    assert [record.case_id for record in found] == ["In_20180918GE_mr_0004"]
    assert "Regression" not in repr(found)
