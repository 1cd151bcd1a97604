"""A folder a patient with a file a sequence, named as in open_ms_data (cross_sectional/MNI), in small."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

SEQUENCES = {"FLAIR": 90.0, "T1": -20.0, "T1POST": 10.0, "T2": 60.0}  # how much a lesion is brighter
STEM = "N4_noneck_reduced_winsor_regtoFLAIR"


def write(root: Path, patients: int = 10, size: tuple[int, int, int] = (24, 28, 20)) -> Path:
    """Brains on a background of 0; a lesion of 8 voxels a side each."""
    rng = np.random.default_rng(0)
    affine = np.diag([-1.0, 1.0, 1.0, 1.0])
    brain = np.zeros(size, np.float32)
    brain[2:-2, 2:-2, 2:-2] = 1
    for index in range(patients):
        label = np.zeros(size, np.uint8)
        label[tuple(slice(c, c + 8) for c in rng.integers(2, np.asarray(size) - 10))] = 1
        folder = root / f"patient{index + 1:02d}"
        folder.mkdir(parents=True)
        for name, contrast in SEQUENCES.items():
            image = (rng.normal(100, 5, size) + label * contrast) * brain
            nib.save(
                nib.Nifti1Image(image.astype(np.float32), affine), folder / f"{name}_{STEM}_brain_N4_regtoMNI.nii.gz"
            )
        nib.save(nib.Nifti1Image(label, affine), folder / f"GOLD_STANDARD_{STEM}_regtoMNI.nii.gz")
    return root
