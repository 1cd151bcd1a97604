"""Slices with their neighbours as channels (2.5D)."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from medexp import build
from medexp.config.compose import compose, resolve
from medexp.data.expand import slices
from medexp.data.images import read_image, read_label
from medexp.data.modalities import present
from medexp.data.records import Record
from medexp.errors import UserError


def volume(path: Path, start: float = 0) -> Path:
    nib.save(nib.Nifti1Image(start + np.arange(60, dtype=np.float32).reshape(4, 5, 3), np.eye(4)), path)
    return path


def test_neighbours_are_channels_and_the_label_is_that_of_the_middle(tmp_path: Path) -> None:
    image, label = volume(tmp_path / "a.nii"), volume(tmp_path / "l.nii")
    whole = np.asarray(nib.load(image).dataobj)
    for index, case in enumerate(slices([Record("a", (image,), label)], "axial", 1)):
        found = read_image(case, spatial_dims=2, channels=1).array
        wanted = [
            whole[..., max(index - 1, 0)],
            whole[..., index],
            whole[..., min(index + 1, 2)],
        ]  # the edge is repeated
        np.testing.assert_array_equal(found, np.stack(wanted))
        np.testing.assert_array_equal(read_label(case, spatial_dims=2).array, whole[..., index])


def test_of_several_modalities_each_has_its_neighbours_together(tmp_path: Path) -> None:
    paths = (volume(tmp_path / "a.nii"), None, volume(tmp_path / "b.nii", 100))
    case = slices([Record("a", paths)], "sagittal", 1)[2]
    scan = read_image(case, spatial_dims=2, channels=3)
    assert scan.array.shape == (9, 5, 3)
    assert scan.missing == (3, 4, 5)
    assert present(case, 9).tolist() == [1, 1, 1, 0, 0, 0, 1, 1, 1]
    np.testing.assert_array_equal(scan.array[6:], scan.array[:3] + 100)


def test_the_data_module_serves_them_and_the_store_tells_them_from_plain_slices(phantom: Path) -> None:
    shared = ["experiment=segmentation/phantom_slices", f"dataset.root={phantom}", "dataset.source.patients=10"]
    modules = []
    for options in ([], ["dataset.neighbours=1", "dataset.in_channels=3"]):
        data = build.datamodule(resolve(compose([*shared, *options, "dataset.limit=4", "run_dir=x"])))
        data.setup()
        modules.append(data)
    (plain, near), record = modules, modules[1].parts()["train"][1]
    image, alone = near.load(record)[1].image, plain.load(plain.parts()["train"][1])[1].image
    assert image.shape == (3, *alone.shape[1:])
    torch.testing.assert_close(image[1], alone[0])


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["dataset.neighbours=1"], r"dataset\.in_channels: 1, but 1 neighbours make 3 channels .* set dataset\.in_channels=3"),
        (["dataset.neighbours=1", "dataset.in_channels=3", "dataset.plane=null"], r"dataset\.neighbours: 1, but cases are no slices"),
    ],
)  # fmt: skip
def test_mistakes_are_named(phantom: Path, overrides: list[str], words: str) -> None:
    cfg = resolve(
        compose(["experiment=segmentation/phantom_slices", f"dataset.root={phantom}", *overrides, "run_dir=x"])
    )
    with pytest.raises(UserError, match=words):
        build.datamodule(cfg)
