"""The archive of the RSNA 2019 challenge in small: stage_2_train.csv and stage_2_train/ID_xxx.dcm."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from layouts import dicom

KINDS = ("epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural", "any")


def case(number: int) -> str:
    return f"ID_{number:09x}"


def write(root: Path, slices: int = 24, patients: int = 12, size: int = 32) -> Path:
    """CT slices in HU (stored with an intercept of -1024); slice i has the kind i mod 6 (5: none) as a bright square at a
    place of its own. Patients have slices / patients of them each."""
    rng = np.random.default_rng(0)
    rows = ["ID,Label"]
    for number in range(slices):
        kind = number % 6
        pixels = rng.normal(1024 + 30, 4, (size, size))
        if kind < 5:
            pixels[kind * 5 : kind * 5 + 6, 4:20] += 50
        dataset = dicom.slice_dataset(
            pixels.astype(np.int16),
            name=case(number),
            SOPClassUID=dicom.CT,
            Modality="CT",
            PatientID=f"ID_{number % patients:08x}",
            RescaleSlope=1,
            RescaleIntercept=-1024,
        )
        dicom.save(dataset, root / "stage_2_train" / f"{case(number)}.dcm")
        labels = [int(kind < 5 if name == "any" else index == kind) for index, name in enumerate(KINDS)]
        rows += [f"{case(number)}_{name},{label}" for name, label in zip(KINDS, labels, strict=True)]
    rows += rows[1:7]  # the official table repeats rows
    (root / "stage_2_train.csv").write_text("\n".join(rows) + "\n")
    return root
