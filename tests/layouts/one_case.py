"""Files of one case, and how they are read: what tests of formats share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from medexp.data.formats.scan import Scan
from medexp.data.images import read_image, read_label
from medexp.data.records import Record
from medexp.errors import UserError

AFFINE = np.array([[-2.0, 0, 0, 10], [0, 3.0, 0, -20], [0, 0, 4.0, 5], [0, 0, 0, 1]])
VOLUME = np.random.default_rng(0).normal(size=(5, 6, 7)).astype(np.float32)


def nifti(path: Path, array: np.ndarray[Any, Any], affine: np.ndarray[Any, Any] = AFFINE) -> Path:
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def image(*paths: Path, dims: int = 3, channels: int | None = 1) -> Scan:
    return read_image(Record("case7", paths), spatial_dims=dims, channels=channels)


def label(path: Path, dims: int = 3) -> Scan:
    return read_label(Record("case7", (), path), spatial_dims=dims)


def refused(path: Path, message: str, dims: int = 3, channels: int | None = 1) -> None:
    with pytest.raises(UserError, match=message) as caught:
        image(path, dims=dims, channels=channels)
    assert str(caught.value).startswith(f"case case7: {path}: ")
    assert "\n" not in str(caught.value)
