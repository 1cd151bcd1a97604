"""The MedMNIST leaves: each reads a file as it is published, from rows to targets."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medexp.config import paths
from medexp.data.fetching.about import read_about
from medexp.data.images import read_image
from medexp.data.sources import npz
from medexp.data.targets import encode
from medexp.run.train import plan

LEAVES = {name: leaf for name, leaf in paths.options("dataset").items() if name.startswith("medmnist/")}
HOST = ["experiment=classification/phantom_presence_2d", "model=simple_cnn"]
SINGLE = ["task=classification", "loss=cross_entropy"]
MULTIPLE = ["task=classification_multilabel", "loss=bce"]


def overrides(name: str, root: Path) -> list[str]:
    return [*HOST, *(MULTIPLE if "chest" in name else SINGLE), f"dataset={name}", f"dataset.root={root}"]


def write(path: Path, dataset: dict[str, Any], each: int = 2) -> Path:
    """As MedMNIST writes them: uint8 images (N, 28, 28[, 28 or 3]) and labels (N, 1), or (N, 14) of several classes."""
    rng = np.random.default_rng(0)
    size, classes = tuple(dataset["image_size"]), len(dataset["classes"])
    channels = (3,) if dataset["in_channels"] == 3 else ()
    content = {}
    for part in npz.PARTS:
        count = classes * each
        content[f"{part}_images"] = rng.integers(0, 255, (count, *size, *channels), dtype=np.uint8)
        labels = (np.arange(count) % classes)[:, None]
        content[f"{part}_labels"] = rng.integers(0, 2, (count, 14)) if classes == 14 else labels.astype(np.uint8)
    np.savez_compressed(path, **content)
    return path


def test_all_published_sets_are_here() -> None:
    flat = ["path", "chest", "derma", "oct", "pneumonia", "retina", "breast", "blood", "tissue"]
    volumes = ["organ", "nodule", "adrenal", "fracture", "vessel", "synapse"]
    names = [f"medmnist/{name}mnist" for name in (*flat, "organa", "organc", "organs")] + [
        f"medmnist/{name}mnist3d" for name in volumes
    ]
    assert sorted(LEAVES) == sorted(names)


@pytest.mark.parametrize("name", LEAVES)
def test_a_leaf_names_its_file_its_checksum_and_its_terms(name: str) -> None:
    dataset = plan(overrides(name, Path("x.npz"))[:-1])["dataset"]
    file = f"{name.split('/')[1]}.npz"
    about = read_about(dataset["about"], f"dataset={name}")
    assert dataset["root"].endswith(f"/medmnist/{file}")
    assert about.is_one_file(Path(dataset["root"]))
    (remote,) = about.files
    assert (remote.name, list(remote.sums)) == (file, ["md5"])
    assert about.licence in paths.summary(LEAVES[name])
    assert about.licence == ("CC BY-NC 4.0" if "derma" in name else "CC BY 4.0")


def test_checksums_are_of_different_files() -> None:
    sums = [re.findall(r'md5: "(\w{32})"', leaf.read_text()) for leaf in LEAVES.values()]
    assert len({digest for found in sums for digest in found}) == len(LEAVES) == sum(map(len, sums))


@pytest.mark.parametrize("name", LEAVES)
def test_rows_become_images_and_targets_of_the_given_split(name: str, tmp_path: Path) -> None:
    cfg = plan(overrides(name, tmp_path / "x.npz"))
    dataset = cfg["dataset"]
    write(tmp_path / "x.npz", dataset)
    assert dataset["source"]["_target_"] == "medexp.data.sources.npz.records"
    found = npz.records(Path(dataset["root"]))
    assert Counter(record.split for record in found) == dict.fromkeys(npz.PARTS, 2 * len(dataset["classes"]))
    record = [record for record in found if record.split == "val"][-1]
    image = read_image(record, spatial_dims=dataset["spatial_dims"], channels=dataset["in_channels"]).array
    with np.load(tmp_path / "x.npz") as arrays:
        row, labels = arrays["val_images"][-1], arrays["val_labels"][-1]
    np.testing.assert_array_equal(image, row.transpose(2, 0, 1) if dataset["in_channels"] == 3 else row[None])
    target = encode(record, dataset["classes"], dataset["target"])
    assert target.tolist() == labels.tolist()


def test_larger_version_is_an_override_of_root_and_size(tmp_path: Path) -> None:
    larger = [*overrides("medmnist/pathmnist", tmp_path / "pathmnist_64.npz"), "dataset.image_size=[64,64]"]
    cfg = plan(larger)
    write(tmp_path / "pathmnist_64.npz", cfg["dataset"])
    record = npz.records(Path(cfg["dataset"]["root"]))[0]
    assert read_image(record, spatial_dims=2, channels=3).array.shape == (3, 64, 64)
