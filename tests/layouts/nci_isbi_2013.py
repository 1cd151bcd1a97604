"""NCI-ISBI 2013 in small: DICOM below <collection>/<patient>/<study>/<series>, NRRD label maps in the parts' folders."""

from __future__ import annotations

from pathlib import Path

import nrrd
import numpy as np

from layouts import dicom

SHAPE = (24, 20, 6)
ORIGIN = (-30.0, -40.0, 50.0)
PARTS = {"Training": "01", "Leaderboard": "02", "Test": "03"}


def write_patient(root: Path, patient: str, part: str, words: str = "", seed: int = 0) -> Path:
    """A T2 series of 6 slices and its label map on the same grid, in LPS, as the archive has them."""
    rng = np.random.default_rng(seed)
    label = np.zeros(SHAPE, np.uint8)
    label[4:14, 4:12, 1:5], label[8:18, 8:16, 1:5] = 1, 2
    image = (rng.normal(100, 10, SHAPE) + label * 60).astype(np.uint16)
    collection = "Prostate-3T" if patient.startswith("Prostate3T") else "PROSTATE-DIAGNOSIS"
    study, series = dicom.uid("study", patient), dicom.uid(patient)
    dicom.write_series(
        root / "images" / collection / patient / study / series, image, series=patient, origin=ORIGIN, PatientID=patient
    )
    path = root / "labels" / part / f"{patient}{words}.nrrd"
    path.parent.mkdir(parents=True, exist_ok=True)
    nrrd.write(str(path), label, header(np.diag([1.5, 2.0, 4.0]), ORIGIN))
    return path


def header(
    directions: np.ndarray, origin: tuple[float, ...], space: str = "left-posterior-superior"
) -> dict[str, object]:
    """Rows of `directions`: mm along each axis of the array."""
    return {
        "space": space,
        "space directions": np.asarray(directions, dtype=float),
        "space origin": np.asarray(origin, dtype=float),
        "kinds": ["domain"] * 3,
        "encoding": "gzip",
    }


def write(root: Path, training: int = 6) -> Path:
    """Patients of both collections in all three parts; label maps of some have words behind the patient."""
    for number in range(1, training + 1):
        name = ("Prostate3T", "ProstateDx")[number % 2]
        words = "_correctedLabels" if number == 2 else ""
        write_patient(root, f"{name}-01-{number:04d}", "Training", words, number)
    for number in (1, 2):
        write_patient(root, f"Prostate3T-02-{number:04d}", "Leaderboard", "", 100 + number)
        write_patient(root, f"Prostate3T-03-{number:04d}", "Test", "_truth", 200 + number)
    return root
