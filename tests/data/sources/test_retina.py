"""DRIVE and CHASE_DB1: labels, fields of view, patients and the split that the data come with."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from layouts.retina import photograph, write_chase_db1, write_drive

from medexp.data.images import read_image, read_label, read_region
from medexp.data.records import Record
from medexp.data.sources import chase_db1, drive
from medexp.data.splits.make import make_split
from medexp.errors import Faults, UserError


def test_drive_has_labels_fields_of_view_and_its_own_split(tmp_path: Path) -> None:
    root = write_drive(tmp_path / "my DRIVE")
    found = drive.records(root)
    assert [(record.case_id, record.split) for record in found] == [
        *[("01_test", "test"), ("02_test", "test")],
        *[(f"{number}_training", "train") for number in (21, 22, 23, 24)],
    ]
    assert found[0].label == root / "test/1st_manual/01_manual1.gif"
    assert found[2].region == root / "training/mask/21_training_mask.gif"
    image, vessel, field = photograph(21)
    np.testing.assert_array_equal(read_image(found[2], spatial_dims=2, channels=3).array, image.transpose(2, 0, 1))
    np.testing.assert_array_equal(read_label(found[2], spatial_dims=2).array, vessel)
    np.testing.assert_array_equal(read_region(found[2], spatial_dims=2), field > 0)
    assert set(make_split(found, seed=0)["test"]) == {"01_test", "02_test"}


def test_second_observer_saw_the_test_images_only(tmp_path: Path) -> None:
    found = drive.records(write_drive(tmp_path), observer=2)
    assert [record.label.name for record in found if record.label][:3] == [
        *("01_manual2.gif", "02_manual2.gif", "21_manual1.gif")
    ]


def test_drive_without_labels_of_the_test_images_is_its_training_part_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = write_drive(tmp_path, test=())
    with caplog.at_level(logging.INFO, logger="medexp"):
        found = drive.records(root)
    assert [(record.case_id, record.split) for record in found] == [(f"{n}_training", None) for n in (21, 22, 23, 24)]
    assert f"{root} has no test/1st_manual: its test images have no label maps and are left out" in caplog.text
    with pytest.raises(UserError, match=r"dataset\.source\.observer: 2, but .* has no test/2nd_manual"):
        drive.records(root, observer=2)


def test_all_files_that_drive_lacks_are_named_at_once(tmp_path: Path) -> None:
    root = write_drive(tmp_path)
    gone = [root / "test/1st_manual/02_manual1.gif", root / "training/mask/21_training_mask.gif"]
    for path in gone:
        path.unlink()
    with pytest.raises(Faults, match="2 files that belong to the images") as caught:
        drive.records(root)
    assert caught.value.problems == [
        f"case 21_training: {gone[1]}: no such file",
        f"case 02_test: {gone[0]}: no such file",
    ]


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (("training/1st_manual", "training/x"), {}, r"dataset\.root: .* has no training/1st_manual"),
        (("training/images", "training/x"), {}, r"dataset\.root: .*training has no folder images"),
        (("training/images/21_training.tif", "training/images/a.tif"), {}, "is not named NUMBER_training.tif"),
        (("training/mask", "training/mask"), {"observer": 3}, r"dataset\.source\.observer: 3 is not 1 or 2"),
    ],
)
def test_folder_that_is_not_drive_is_named(
    tmp_path: Path, change: tuple[str, str], options: dict[str, Any], message: str
) -> None:
    root = write_drive(tmp_path)
    (root / change[0]).rename(root / change[1])
    with pytest.raises(UserError, match=message):
        drive.records(root, **options)


def test_both_eyes_of_a_child_are_one_patient(tmp_path: Path) -> None:
    found = chase_db1.records(write_chase_db1(tmp_path))
    assert found[1] == Record(
        "Image_01R", (tmp_path / "Image_01R.jpg",), tmp_path / "Image_01R_1stHO.png", patient_id="01"
    )
    assert {record.split for record in found} == {None}
    for ids in make_split(found, seed=3).values():
        assert {case[:-1] + "L" for case in ids} <= set(ids)


def test_customary_split_is_given_where_the_test_images_are_there(tmp_path: Path) -> None:
    found = chase_db1.records(write_chase_db1(tmp_path, children=(1, 10, 11, 14)), observer=2)
    assert [record.split for record in found] == ["train"] * 4 + ["test"] * 4
    first, second = (np.roll(photograph(14)[1] > 0, shift, axis=0) for shift in (0, 2))
    label = read_label(found[-1], spatial_dims=2).array
    np.testing.assert_array_equal(label, second)
    assert (label != first).any()


def test_all_files_that_chase_db1_lacks_are_named_at_once(tmp_path: Path) -> None:
    root = write_chase_db1(tmp_path)
    (root / "Image_02L_1stHO.png").unlink()
    (root / "Image_03L.jpg").rename(root / "Foto_03L.jpg")
    with pytest.raises(Faults, match=r"3 files of .* are not as CHASE_DB1 has them") as caught:
        chase_db1.records(root)
    assert caught.value.problems == [
        f"{root / 'Foto_03L.jpg'}: is not named Image_NUMBER[LR]",
        f"case Image_02L: {root / 'Image_02L_1stHO.png'}: no such file",
        f"{root / 'Image_03L_1stHO.png'}: no image of that name",
    ]
    with pytest.raises(UserError, match=r"dataset\.source\.observer: 0 is not 1 or 2"):
        chase_db1.records(root, observer=0)  # type: ignore[arg-type]


@pytest.mark.real_data
def test_children_one_to_ten_are_listed_and_fit_their_labels(real_data: Callable[[str], Path]) -> None:
    for observer in (1, 2):
        found = chase_db1.records(real_data("chase_db1"), observer=observer)  # type: ignore[arg-type]
        assert len(found) == 20
        assert {record.patient_id for record in found} == {f"{child:02d}" for child in range(1, 11)}
        assert {record.split for record in found} == {None}
    image = read_image(found[0], spatial_dims=2, channels=3).array
    label = read_label(found[0], spatial_dims=2).array
    assert image.shape == (3, *label.shape) == (3, 960, 999)
    assert np.unique(label).tolist() == [0, 1]
    assert image[1][label == 1].mean() < image[1][(label == 0) & (image[1] > 20)].mean()  # vessels are dark in green
