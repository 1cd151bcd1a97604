"""MNIST's four files: rows as cases, train and test as they are published."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from layouts.idx import write_idx, write_mnist

from medexp.data.images import read_image
from medexp.data.records import Record
from medexp.data.sources import idx
from medexp.data.splits.make import make_split
from medexp.errors import Faults, UserError


@pytest.mark.parametrize("end", ["", ".gz"])
def test_rows_are_cases_of_their_part(tmp_path: Path, end: str) -> None:
    root = write_mnist(tmp_path / "my set", end)
    found = idx.records(root)
    assert len(found) == 60
    images = (root / f"train-images-idx3-ubyte{end}",)
    assert found[13] == Record("train_00013", images, target=3, split="train", member=13)
    assert (found[40].case_id, found[40].target, found[40].split) == ("test_00000", 1, "test")
    for record in (found[13], found[40], found[59]):
        image = read_image(record, spatial_dims=2, channels=1).array
        assert image.shape == (1, 28, 28)
        assert (image[0].mean(axis=0) > 200).nonzero()[0].tolist() == [2 * record.target + step for step in range(3)]
    split = make_split(found, seed=0)
    assert (len(split["test"]), len(split["train"]) + len(split["val"])) == (20, 40)
    assert all(case.startswith("test_") for case in split["test"])


def test_names_with_a_dot_are_known_and_unpacked_files_come_first(tmp_path: Path) -> None:
    root = write_mnist(tmp_path, "")
    (root / "t10k-images-idx3-ubyte").rename(root / "t10k-images.idx3-ubyte")
    write_idx(root / "t10k-images-idx3-ubyte.gz", np.zeros((1, 28, 28)))
    last = idx.records(root)[-1]
    assert last.images == (root / "t10k-images.idx3-ubyte",)
    assert read_image(last, spatial_dims=2, channels=1).array.max() == 220


def test_all_missing_files_are_named(tmp_path: Path) -> None:
    root = write_mnist(tmp_path)
    (root / "t10k-images-idx3-ubyte.gz").unlink()
    (root / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(Faults, match="2 of 4 idx files are missing") as caught:
        idx.records(root)
    assert caught.value.problems == [
        f"{root / 'train-labels-idx1-ubyte'}: no such file",
        f"{root / 't10k-images-idx3-ubyte'}: no such file",
    ]


def test_labels_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    root = write_mnist(tmp_path)
    labels = root / "t10k-labels-idx1-ubyte.gz"
    write_idx(labels, np.zeros((20, 2)))
    with pytest.raises(UserError, match=r"t10k-labels-idx1-ubyte\.gz: is 2D of uint8, not one class number a row"):
        idx.records(root)
    labels.write_bytes(labels.read_bytes()[:-4])
    with pytest.raises(UserError, match=r"t10k-labels-idx1-ubyte\.gz: is truncated"):
        idx.records(root)


def test_images_fewer_than_labels_are_named(tmp_path: Path) -> None:
    root = write_mnist(tmp_path)
    write_idx(root / "train-images-idx3-ubyte.gz", np.zeros((39, 28, 28)))
    with pytest.raises(UserError, match=r"39 rows in train-images-idx3-ubyte\.gz for 40 in train-labels"):
        idx.records(root)
