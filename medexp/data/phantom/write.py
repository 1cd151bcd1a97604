"""The phantom: a small data set of scans that are drawn, not taken, so that every task runs with nothing to download.

A folder in the layout of the Medical Segmentation Decathlon (imagesTr, labelsTr, dataset.json) with more beside it: a
second modality, a noise-free version, a follow-up series, and cases.csv with what each case holds.
"""

from __future__ import annotations

import csv
import json
import os
import secrets
import shutil
from pathlib import Path

import nibabel as nib
from numpy.typing import NDArray

from medexp.data.phantom.anatomy import LABELS, draw_patient
from medexp.data.phantom.scan import Scan, draw_scan, nifti
from medexp.errors import UserError

VERSION = 1  # of the generator: raise it when the same seed draws other files
COLUMNS = (
    "case_id",
    "patient_id",
    "image",
    "label",
    "second",
    "clean",
    "followup",
    "presence",
    "lesion_count",
    "lesion_volume_ml",
    "boxes",
    "followup_volume_ml",
    "spacing",
)


def write_phantom(root: Path, *, spatial_dims: int = 3, patients: int = 40, seed: int = 0) -> Path:
    """The folder `root` with the phantom of these parameters, written now unless it is there already.

    All or nothing: the files are written beside `root` and moved there in one step, so that a writer that is killed
    leaves nothing at `root`, and of several that race one wins and the others use its files. Patient i depends on
    (seed, i) alone.

    Raises UserError where a parameter is out of range, `root` holds something else, or it cannot be written.
    """
    root = Path(root)
    wanted = parameters(spatial_dims, patients, seed)
    staging = root.parent / f".{root.name}.{os.getpid()}.{secrets.token_hex(4)}"
    try:
        if is_finished(root, wanted):
            return root
        staging.mkdir(parents=True)
        write_cases(staging, wanted)
        (staging / "phantom.json").write_text(json.dumps(wanted, indent=2) + "\n")
        settle(staging, root, wanted)
    except OSError as error:
        raise UserError(
            f"{root}: the phantom cannot be written here ({error.strerror or error}); "
            f"make {root.parent} writable with 100 MB free, or give another dataset.root"
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return root


def parameters(spatial_dims: int, patients: int, seed: int) -> dict[str, int]:
    """What phantom.json records; checked here once."""
    if not isinstance(spatial_dims, int) or spatial_dims not in (2, 3):
        raise UserError(f"phantom: spatial_dims={spatial_dims!r}; allowed: 2, 3")
    if not isinstance(patients, int) or patients < 1:
        raise UserError(f"phantom: patients={patients!r}; allowed: a whole number from 1")
    if not isinstance(seed, int) or seed < 0:
        raise UserError(f"phantom: seed={seed!r}; allowed: a whole number from 0")
    return {"generator": VERSION, "spatial_dims": spatial_dims, "patients": patients, "seed": seed}


def is_finished(root: Path, wanted: dict[str, int]) -> bool:
    """Whether `root` holds this phantom. False where it is absent or empty; UserError where it holds anything else."""
    move = "delete it or give another dataset.root"
    if not os.path.lexists(root):
        return False
    if not root.is_dir():
        raise UserError(f"{root}: not a folder, so the phantom cannot be written here; {move}")
    try:
        found = json.loads((root / "phantom.json").read_text())
    except FileNotFoundError:
        if not any(root.iterdir()):
            return False
        raise UserError(
            f"{root}: holds other files and no phantom.json, so no phantom is written here; {move}"
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(f"{root / 'phantom.json'}: cannot be read ({error}); {move}") from None
    if found != wanted:
        raise UserError(f"{root}: holds a phantom with {json.dumps(found)}; asked for {json.dumps(wanted)}; {move}")
    if not (root / "cases.csv").is_file():
        raise UserError(f"{root}: the phantom has lost its cases.csv; {move}")
    return True


def settle(staging: Path, root: Path, wanted: dict[str, int]) -> None:
    """Move the finished folder to `root`; where another process was first, its folder stands."""
    try:
        os.replace(staging, root)
    except OSError:
        if not is_finished(root, wanted):
            raise


def write_cases(folder: Path, wanted: dict[str, int]) -> None:
    """All scans of all patients, cases.csv and dataset.json."""
    from medexp.data.progress import track

    seed, spatial_dims = wanted["seed"], wanted["spatial_dims"]
    for name in ("imagesTr", "labelsTr", "secondTr", "cleanTr", "followupTr"):
        (folder / name).mkdir()
    rows: list[dict[str, object]] = []
    patients = range(wanted["patients"])
    for index in track(patients, len(patients), "Writing the phantom"):
        patient = draw_patient(seed, index, spatial_dims)
        for part in range(patient.scans):
            scan = draw_scan(patient, seed, index, part, spatial_dims)
            rows.append(write_case(folder, f"p{index:04d}_s{part}", f"p{index:04d}", scan))
    with (folder / "cases.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    (folder / "dataset.json").write_text(json.dumps(decathlon(rows, spatial_dims), indent=2) + "\n")


def write_case(folder: Path, case_id: str, patient_id: str, scan: Scan) -> dict[str, object]:
    """The files of one scan; returns its row of cases.csv: paths relative to `folder`, volumes in ml, spacing in mm."""

    def save(array: NDArray, place: str) -> str:
        nib.save(nifti(array, scan.affine), folder / place)  # nibabel writes gzip level 1 with no time stamp
        return place

    volumes = [f"{volume:.6f}" for volume in scan.followup_volume_ml]
    return {
        "case_id": case_id,
        "patient_id": patient_id,
        "image": save(scan.image, f"imagesTr/{case_id}.nii.gz"),
        "label": save(scan.label, f"labelsTr/{case_id}.nii.gz"),
        "second": save(scan.second, f"secondTr/{case_id}.nii.gz"),
        "clean": save(scan.clean, f"cleanTr/{case_id}.nii.gz"),
        "followup": ";".join(save(at, f"followupTr/{case_id}_t{k}.nii.gz") for k, at in enumerate(scan.followup)),
        "presence": "lesion" if scan.boxes else "healthy",
        "lesion_count": len(scan.boxes),
        "lesion_volume_ml": volumes[0],
        "boxes": json.dumps(scan.boxes),
        "followup_volume_ml": ";".join(volumes),
        "spacing": json.dumps(scan.spacing),
    }


def decathlon(rows: list[dict[str, object]], spatial_dims: int) -> dict[str, object]:
    """dataset.json as the Medical Segmentation Decathlon lays it out (Antonelli et al. 2022)."""
    return {
        "name": "phantom",
        "description": f"Drawn {spatial_dims}D scans with liver, kidneys and lesions (medexp phantom {VERSION})",
        "tensorImageSize": f"{spatial_dims}D",
        "modality": {"0": "phantom"},
        "labels": {str(value): name for value, name in enumerate(LABELS)},
        "numTraining": len(rows),
        "numTest": 0,
        "training": [{"image": f"./{row['image']}", "label": f"./{row['label']}"} for row in rows],
        "test": [],
    }
