"""DRIVE and CHASE_DB1 in small: a line through a fundus photograph is the vessel."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image

SIZE = (64, 72)  # rows, columns
Array = np.ndarray[Any, Any]


def photograph(number: int) -> tuple[Array, Array, Array]:
    """uint8 image (rows, columns, 3), vessels 0/255, field of view 0/255."""
    rng = np.random.default_rng(number)
    rows, columns = np.indices(SIZE)
    field = (rows - SIZE[0] / 2) ** 2 + (columns - SIZE[1] / 2) ** 2 < (SIZE[0] / 2) ** 2
    vessel = (abs(rows - columns + number % 7) < 3) & field
    image = rng.integers(90, 120, (*SIZE, 3), dtype=np.uint8)
    image[vessel] -= 60
    image[~field] = 0
    return image, vessel.astype(np.uint8) * 255, field.astype(np.uint8) * 255


def _save(path: Path, array: Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".tif":
        tifffile.imwrite(path, array, photometric="rgb")
    else:
        Image.fromarray(array).save(path)


def write_drive(root: Path, training: Sequence[int] = (21, 22, 23, 24), test: Sequence[int] = (1, 2)) -> Path:
    """DRIVE's folders; without numbers for the test part it has no manuals, as in the later releases."""
    for part, numbers in (("training", training), ("test", test or (1, 2))):
        for number in numbers:
            image, vessel, field = photograph(number)
            _save(root / part / "images" / f"{number:02d}_{part}.tif", image)
            _save(root / part / "mask" / f"{number:02d}_{part}_mask.gif", field)
            if part == "training" or test:
                _save(root / part / "1st_manual" / f"{number:02d}_manual1.gif", vessel)
            if part == "test" and test:
                _save(root / part / "2nd_manual" / f"{number:02d}_manual2.gif", np.roll(vessel, 2, axis=0))
    return root


def write_chase_db1(root: Path, children: Sequence[int] = (1, 2, 3, 4)) -> Path:
    """Both eyes of each child, vessels by two observers as 1-bit PNG."""
    for child in children:
        for eye in "LR":
            image, vessel, _ = photograph(child)
            _save(root / f"Image_{child:02d}{eye}.jpg", image)
            _save(root / f"Image_{child:02d}{eye}_1stHO.png", vessel > 0)
            _save(root / f"Image_{child:02d}{eye}_2ndHO.png", np.roll(vessel, 2, axis=0) > 0)
    return root
