"""The phantom as a source: drawn on first use, then read from its table of cases."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from medexp.data.records import Box, Record
from medexp.errors import UserError, nearest

NAMES = ("age", "sex")  # of covariates
GRADES = ("0", "1", "2", "3+")  # of lesion_count
IMAGES = ("image", "second", "clean")
TARGETS: dict[str, Callable[[str], Any]] = {
    "presence": str,
    "lesion_count": float,
    "lesion_volume_ml": float,
    "lesion_grade": lambda text: GRADES[min(int(text), len(GRADES) - 1)],
    "followup_volume_ml": lambda text: [float(volume) for volume in text.split(";")],
    "boxes": json.loads,
}
SURVIVAL, OUTCOME = "survival", "outcome"


def records(
    root: Path,
    *,
    spatial_dims: int = 3,
    patients: int = 40,
    seed: int = 0,
    target: str | Sequence[str] | None = "presence",
    image: str | Sequence[str] = "image",
    followup: Literal["all", "varying"] | None = None,
    covariates: Sequence[str] = (),
) -> list[Record]:
    """The cases of the phantom at `root`, which is written first where it is absent.

    target: a column of cases.csv: "presence" (healthy or lesion), "lesion_count", "lesion_volume_ml" (ml), "lesion_grade"
        ("0" to "3+" by count), a list of columns gives each by name;
        "followup_volume_ml" (ml at each time point), "boxes" (voxels: min of each axis, max of each axis, also as boxes
        of class "lesion"); None: none.
        "survival": [months, event], drawn from the lesion volume (medexp/data/phantom/survival.py); the first scan of
        each patient only, for a patient has one follow-up.
        "outcome": good or poor, by lesions and age (medexp/data/phantom/covariates.py).
    image: "image", "second" (the other modality) or "clean" (free of noise); a list, one a channel.
    followup: cases are follow-up series of 4 scans ("all"), or those of them that a patient came to ("varying", 2 to 4).
    covariates: "age", "sex" (medexp/data/phantom/covariates.py).
    Raises UserError for another name, and all that `write_phantom` raises.
    """
    images = [image] if isinstance(image, str) else list(image)
    for key, names, allowed in (("image", images, IMAGES), ("covariates", covariates, NAMES)):
        for name in names:
            if name not in allowed:
                hint = nearest(str(name), list(allowed))
                raise UserError(f"phantom: {key}={name!r}; allowed: {', '.join(allowed)}{hint}")
    known = [*TARGETS, SURVIVAL, OUTCOME]
    columns = list(TARGETS) if not isinstance(target, str | None) else known
    for name in [] if target is None else [target] if isinstance(target, str) else target:
        if name not in columns:
            raise UserError(f"phantom: target={name!r}; allowed: {', '.join(columns)}, null{nearest(name, columns)}")
    from medexp.data.phantom.covariates import covariates as known_of
    from medexp.data.phantom.followup import followed
    from medexp.data.phantom.write import write_phantom

    root = write_phantom(Path(root), spatial_dims=spatial_dims, patients=patients, seed=seed)

    def record_of(row: dict[str, str]) -> Record:
        record = Record(
            case_id=row["case_id"],
            images=tuple(root / row[name] for name in images),
            label=root / row["label"],
            target=_target(row, target, seed, spatial_dims),
            patient_id=row["patient_id"],
            boxes=_lesions(row["boxes"]) if target == "boxes" else None,
            covariates=known_of(seed, int(row["patient_id"][1:])) if covariates else None,
        )
        return record if followup is None else followed(record, row, root, seed, followup)

    with (root / "cases.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if target != SURVIVAL or row["case_id"].endswith("_s0")]
    return [record_of(row) for row in rows]


def _lesions(cell: str) -> tuple[Box, ...]:
    """The boxes of a cell of cases.csv."""
    found = [tuple(map(float, box)) for box in json.loads(cell)]
    return tuple(Box("lesion", box[: len(box) // 2], box[len(box) // 2 :]) for box in found)


def _target(row: dict[str, str], target: str | Sequence[str] | None, seed: int, spatial_dims: int) -> Any:
    from medexp.data.phantom.covariates import outcome
    from medexp.data.phantom.survival import follow_up

    patient = int(row["patient_id"][1:])
    if target == SURVIVAL:
        return follow_up(seed, patient, float(row["lesion_volume_ml"]), spatial_dims)
    if target == OUTCOME:
        return outcome(seed, patient)
    if target is None or isinstance(target, str):
        return None if target is None else _cell(row, target)
    return {name: _cell(row, name) for name in target}


def _cell(row: dict[str, str], name: str) -> Any:
    return TARGETS[name](row["lesion_count" if name == "lesion_grade" else name])
