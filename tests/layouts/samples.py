"""A folder of made-up pictures and the table of them, as `medexp generate` leaves it, in small."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from PIL import Image


def write(root: Path, count: int = 5, size: tuple[int, int] = (8, 10), classes: str = "ab") -> Path:
    """Bright pictures, case s<k> of the k-th class, and samples.csv."""
    root.mkdir()
    rows = [["case_id", "file", "class", "seed"]]
    for index in range(count):
        pixels = np.full(size, 200 + index, np.uint8)
        pixels[0, 0] = 0
        Image.fromarray(pixels).save(root / f"{index}.png")
        rows.append([f"s{index}", f"{index}.png", classes[index % len(classes)], str(index)])
    with (root / "samples.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return root
