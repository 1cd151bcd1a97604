"""A BIDS data set (bids-specification.readthedocs.io) in small: T1w and T2w, label maps in derivatives."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np


def write(root: Path, subjects: int = 8, size: tuple[int, int, int] = (24, 28, 20)) -> Path:
    """Subjects with one session each, the first with two: a lesion, twice as bright, in T2w more than in T1w."""
    rng = np.random.default_rng(0)
    rows = ["participant_id\tage\tgroup"]
    for index in range(subjects):
        subject = f"sub-{index:02d}"
        rows.append(f"{subject}\t{30 + index}\t{'patient' if index % 2 else 'control'}")
        for session in ["ses-1", "ses-2"] if index == 0 else ["ses-1"]:
            label = np.zeros(size, np.uint8)
            label[tuple(slice(c, c + 8) for c in rng.integers(1, np.asarray(size) - 9))] = 1
            name = f"{subject}/{session}/anat/{subject}_{session}"
            for suffix, contrast in (("T1w", 40), ("T2w", 80)):
                image = rng.normal(50, 5, size) + label * contrast
                _save(root / f"{name}_{suffix}.nii.gz", image.astype(np.float32))
            _save(root / f"derivatives/labels/{name}_label-lesion_dseg.nii.gz", label)
    (root / "participants.tsv").write_text("\n".join(rows) + "\n")
    (root / "dataset_description.json").write_text('{"Name": "small", "BIDSVersion": "1.9.0"}')
    return root


def _save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.diag([1.0, 1.0, 1.5, 1.0])), path)
