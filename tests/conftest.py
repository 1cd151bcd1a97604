"""Small data in the real layouts, and a home for runs; no test touches the user's cache or needs a network."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from medexp.data.phantom.write import write_phantom


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache of the test session's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDEXP_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        yield


@pytest.fixture(autouse=True)
def _at_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty working directory, and medexp's log handlers gone afterwards."""
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.chdir(tmp_path_factory.mktemp("cwd"))
    yield
    logger = logging.getLogger("medexp")
    for handler in list(logger.handlers):
        handler.close()
        logger.removeHandler(handler)
    logger.propagate = True


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A 3D phantom of 10 patients (read only)."""
    return write_phantom(tmp_path_factory.mktemp("phantom") / "phantom_3d", patients=10)


@pytest.fixture(scope="session")
def phantom_2d(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A 2D phantom of 12 patients (read only)."""
    return write_phantom(tmp_path_factory.mktemp("phantom") / "phantom_2d", spatial_dims=2, patients=12)


@pytest.fixture
def real_data() -> Callable[[str], Path]:
    """Folder of a real data set below MEDEXP_DATA; skips with the reason where it is not there."""

    def find(name: str) -> Path:
        root = os.environ.get("MEDEXP_DATA")
        if not root:
            pytest.skip("MEDEXP_DATA is not set: no real data")
        if not (Path(root) / name).is_dir():
            pytest.skip(f"{name} is not below MEDEXP_DATA={root}")
        return Path(root) / name

    return find


def write_msd(root: Path, cases: int = 10, classes: int = 3, size: tuple[int, int, int] = (24, 28, 20)) -> Path:
    """A Decathlon folder of boxes in noise: label k is a box that is k times brighter."""
    rng = np.random.default_rng(0)
    for name in ("imagesTr", "labelsTr"):
        (root / name).mkdir(parents=True)
    affine = np.diag([-1.0, 1.5, 2.0, 1.0])
    entries = []
    for index in range(cases):
        label = np.zeros(size, np.uint8)
        for value in range(1, classes):
            corner = rng.integers(1, np.asarray(size) - 9)
            label[tuple(slice(c, c + 8) for c in corner)] = value
        image = rng.normal(0, 0.2, size).astype(np.float32) + label
        name = f"case_{index:03d}.nii.gz"
        nib.save(nib.Nifti1Image(image, affine), root / "imagesTr" / name)
        nib.save(nib.Nifti1Image(label, affine), root / "labelsTr" / name)
        entries.append({"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"})
    labels = {str(value): f"class{value}" for value in range(classes)}
    (root / "dataset.json").write_text(json.dumps({"labels": labels, "training": entries}))
    return root


def write_pictures(root: Path, classes: list[str], each: int = 6, size: int = 64) -> Path:
    """Grey PNG in a folder a class, and labels.csv: class k has stripes of width k + 2."""
    rng = np.random.default_rng(0)
    rows = ["image,label"]
    for number, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        stripes = (np.arange(size) // (number + 2) % 2 * 120)[None] + np.zeros((size, 1))
        for index in range(each):
            pixels = np.clip(stripes + rng.normal(60, 10, (size, size)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{name}{index}.png")
            rows.append(f"{name}/{name}{index}.png,{name}")
    (root / "labels.csv").write_text("\n".join(rows) + "\n")
    return root


def write_npz(path: Path, classes: int = 3, each: int = 4, size: int = 28, channels: int = 1) -> Path:
    """A MedMNIST file with train, val and test; class k is a brightness."""
    rng = np.random.default_rng(0)
    arrays = {}
    for part in ("train", "val", "test"):
        labels = np.repeat(np.arange(classes), each)
        shape = (len(labels), size, size) if channels == 1 else (len(labels), size, size, channels)
        scale = labels.reshape((-1, *[1] * (len(shape) - 1)))
        arrays[f"{part}_images"] = np.clip(rng.normal(40, 8, shape) + scale * 60, 0, 255).astype(np.uint8)
        arrays[f"{part}_labels"] = labels[:, None].astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)
    return path


@pytest.fixture(scope="session")
def layouts() -> SimpleNamespace:
    """The writers of small data in real layouts: layouts.msd(root), layouts.pictures(root, classes), layouts.npz(path)."""
    return SimpleNamespace(msd=write_msd, pictures=write_pictures, npz=write_npz)
