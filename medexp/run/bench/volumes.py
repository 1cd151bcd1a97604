"""Scans for a benchmark: smooth bodies in noise with round organs, as NIfTI files."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

from medexp.data.records import Record


def write_volumes(folder: Path, count: int, size: tuple[int, int, int], spacing: tuple[float, ...]) -> list[Record]:
    """`count` scans with label maps of 2 classes, int16 in .nii.gz as scanners' exports are."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    affine = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    grid = np.indices(size).astype(np.float32)
    middle = np.asarray(size, np.float32).reshape(3, 1, 1, 1) / 2
    body = (((grid - middle) / (middle * 0.9)) ** 2).sum(0) < 1
    texture = ndimage.gaussian_filter(rng.normal(0, 60, size).astype(np.float32), 1)
    found = []
    for index in range(count):
        label = np.zeros(size, np.uint8)
        for value in (1, 2):
            centre = rng.uniform(0.35, 0.65, 3) * size
            reach = np.asarray(size) * rng.uniform(0.06, 0.15, 3)
            label[(((grid - centre.reshape(3, 1, 1, 1)) / reach.reshape(3, 1, 1, 1)) ** 2).sum(0) < 1] = value
        voxels = np.where(body, 1000 + 150.0 * label + np.roll(texture, index * 7, 0), 0).astype(np.int16)
        image, mask = folder / f"case_{index:03d}.nii.gz", folder / f"case_{index:03d}_label.nii.gz"
        nib.save(nib.Nifti1Image(voxels, affine), image)
        nib.save(nib.Nifti1Image(label, affine), mask)
        found.append(Record(f"case_{index:03d}", (image,), mask))
    return found
