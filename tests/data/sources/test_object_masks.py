"""Folders of one mask an object: a case a folder, and every folder that is not whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from layouts.object_masks import write_object_masks

from medexp.data.images import read_image, read_label
from medexp.data.records import Record
from medexp.data.sources import object_masks
from medexp.errors import Faults, UserError


def test_a_case_is_an_image_and_its_folder_of_masks(tmp_path: Path) -> None:
    root = write_object_masks(tmp_path / "my set", cases=2)
    (root / ".cache").mkdir()
    (root / "notes.txt").write_text("")
    found = object_masks.records(root)
    assert found == [
        Record(name, (root / name / f"images/{name}.png",), root / name / "masks") for name in ("case0", "case1")
    ]
    for channels in (1, 3):  # transparency is dropped
        image = read_image(found[0], spatial_dims=2, channels=channels).array
        label = read_label(found[0], spatial_dims=2).array
        assert image.shape == (channels, *label.shape)
        assert image[:, label == 1].min() > 150 > image[:, label == 0].max()


def test_all_folders_that_are_not_whole_are_named_at_once(tmp_path: Path) -> None:
    root = write_object_masks(tmp_path, cases=4)
    (root / "case0/images/case0.png").unlink()
    (root / "case1/images/other.png").write_bytes(b"")
    (root / "case2/masks").rename(root / "case2/mask")
    with pytest.raises(Faults, match="3 faults in the folders") as caught:
        object_masks.records(root)
    assert caught.value.problems == [
        f"case case0: {root / 'case0/images'}: holds 0 images, one is expected",
        f"case case1: {root / 'case1/images'}: holds 2 images, one is expected",
        f"case case2: {root / 'case2/masks'}: no such folder, so it has no label map",
    ]
    (root / "case2/images").rename(root / "case2/pictures")
    with pytest.raises(Faults, match="4 faults"):
        object_masks.records(root)


def test_empty_root_and_folders_outside_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"dataset\.root: .* has no folders; a folder an image is expected"):
        object_masks.records(tmp_path)
    with pytest.raises(UserError, match=r"dataset\.source\.masks: '\.\./x' does not lie below"):
        object_masks.records(write_object_masks(tmp_path, cases=1), masks="../x")


@pytest.mark.real_data
def test_nuclei_are_listed_and_fit_their_images(real_data: Callable[[str], Path]) -> None:
    found = object_masks.records(real_data("dsb2018_nuclei") / "stage1_train")
    assert len(found) == 60
    image = read_image(found[0], spatial_dims=2, channels=3).array
    label = read_label(found[0], spatial_dims=2).array
    assert image.shape == (3, *label.shape) == (3, 256, 256)
    assert np.unique(label).tolist() == [0, 1]
    assert image[0][label == 1].mean() > image[0][label == 0].mean()  # stained nuclei are bright
