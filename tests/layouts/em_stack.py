"""The ISBI 2012 stacks in small: pages of cells, 255 within and 0 on their membranes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile


def write_em_stack(root: Path, pages: int = 30, size: int = 48) -> Path:
    """train-volume.tif, train-labels.tif and test-volume.tif; page k has the grey level k in its corner."""
    root.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    rows, columns = np.indices((size, size))
    labels = np.stack(
        [np.where(((rows + page) % 12 < 2) | (columns % 12 < 2), 0, 255) for page in range(pages)]
    ).astype(np.uint8)
    volume = np.clip(labels * 0.5 + rng.normal(60, 8, labels.shape), 0, 255).astype(np.uint8)
    volume[:, 0, 0] = np.arange(pages)
    for name, stack in (("train-volume", volume), ("train-labels", labels), ("test-volume", volume)):
        tifffile.imwrite(root / f"{name}.tif", stack, photometric="minisblack")
    return root
