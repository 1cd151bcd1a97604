"""Pictures of which every other has a finding, their label maps and what each is called, in one table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def write(root: Path, count: int = 24, size: int = 16) -> Path:
    """labels.csv with image, mask and label (healthy, ill): a bright spot, 255 in its label map."""
    root.mkdir(parents=True)
    rows = ["image,mask,label"]
    for index in range(count):
        pixels = np.random.default_rng(index).normal(60, 10, (size, size)).clip(0, 255).astype(np.uint8)
        spot = np.zeros((size, size), np.uint8)
        spot[4:8, 5:9] = 255 * (index % 2)
        Image.fromarray(np.maximum(pixels, spot)).save(root / f"c{index}.png")
        Image.fromarray(spot).save(root / f"c{index}_mask.png")
        rows.append(f"c{index}.png,c{index}_mask.png,{('healthy', 'ill')[index % 2]}")
    (root / "labels.csv").write_text("\n".join(rows) + "\n")
    return root
