"""Folders of one mask an object, as the Data Science Bowl 2018 has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def write_mask(path: Path, mask: np.ndarray[Any, Any]) -> None:
    """A mask of any numbers as an 8-bit picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(mask, dtype=np.uint8)).save(path)


def write_object_masks(root: Path, cases: int = 6, objects: int = 3, size: int = 64) -> Path:
    """RGBA images of bright squares on a dark ground; mask k of a case is its k-th square, 0 and 255."""
    rng = np.random.default_rng(0)
    for case in range(cases):
        folder = root / f"case{case}"
        pixels = rng.integers(0, 40, (size, size, 4), dtype=np.uint8)
        pixels[..., 3] = 255
        for number in range(objects):
            row, column = rng.integers(0, size - 8, 2)
            mask = np.zeros((size, size), np.uint8)
            mask[row : row + 8, column : column + 8] = 255
            pixels[mask > 0, :3] = 200
            write_mask(folder / "masks" / f"object{number}.png", mask)
        (folder / "images").mkdir(parents=True)
        Image.fromarray(pixels).save(folder / "images" / f"case{case}.png")
    return root
