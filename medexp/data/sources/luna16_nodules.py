"""LUNA16 as a task of detection: whole CT scans (see luna16.py) with a box around each nodule of annotations.csv.

Setio et al. 2017, Med. Image Anal. 42:1-13; luna16.grand-challenge.org/Data.
"""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from medexp.data.images import header
from medexp.data.parallel import attempt
from medexp.data.records import Box, Record
from medexp.data.sources.folders import inside, need_folder, sorted_unique
from medexp.data.sources.luna16 import scans_below
from medexp.errors import Faults, UserError

COLUMNS = ("seriesuid", "coordX", "coordY", "coordZ", "diameter_mm")
Nodule = tuple[tuple[float, float, float], float]  # centre (RAS) and diameter, mm


def records(
    root: Path,
    *,
    annotations: str = "annotations.csv",
    subsets: Sequence[int] | None = None,
    test_subset: int | None = None,
) -> list[Record]:
    """A record a scan; scans without a nodule have no box. Headers are read, no voxels.

    annotations: table with seriesuid, coordX, coordY, coordZ (mm) and diameter_mm; its scans that are not there are left
    out where `subsets` chooses. subsets: numbers of the subset folders to use; None: all that are there. test_subset: the
    fold of the challenge's ten-fold cross-validation that is the test split; None: the split is drawn by scan.
    """
    need_folder(root)
    scans = scans_below(root, subsets)
    numbers = sorted({number for number, _ in scans.values()})
    if test_subset is not None and test_subset not in numbers:
        raise UserError(f"dataset.source.test_subset: {test_subset} is not one of the subsets {numbers}")
    nodules = _nodules(inside(root, annotations, "dataset.source.annotations"))
    absent = sorted(uid for uid in nodules if uid not in scans)
    if absent and subsets is None:
        hint = "copy the rest, or set dataset.source.subsets, e.g. [0, 1], to use only what is there"
        raise Faults(f"{len(absent)} scans with nodules are not below {root}; {hint}", absent)

    def one(entry: tuple[str, tuple[int, Path]]) -> Record:
        uid, (number, path) = entry
        split = None if test_subset is None else "test" if number == test_subset else "train"
        plain = Record(uid, (path,), patient_id=uid, split=split)
        head = header(plain)
        boxes = tuple(_box(uid, head.shape, np.asarray(head.affine), nodule) for nodule in nodules[uid])
        return Record(uid, (path,), patient_id=uid, split=split, boxes=boxes)

    found, faults = attempt(sorted(scans.items()), one, "reading headers")
    if faults:
        raise Faults(f"{len(faults)} scans of {root} cannot be used", faults)
    return sorted_unique([record for record in found if record is not None], root)


def _box(uid: str, shape: tuple[int, ...], affine: np.ndarray, nodule: Nodule) -> Box:
    """The part of the ball's box that lies in the scan. Raises UserError where none does."""
    place, diameter = nodule
    centre = nib.affines.apply_affine(np.linalg.inv(affine), place) + 0.5  # edges lie half a voxel beside voxel centres
    half = diameter / 2 / nib.affines.voxel_sizes(affine)
    lower, upper = np.clip(centre - half, 0, shape), np.clip(centre + half, 0, shape)
    if not (lower < upper).all():
        seen = ", ".join(f"{value:g}" for value in place)
        raise UserError(f"case {uid}: a nodule at ({seen}) mm lies outside of its scan; mend annotations.csv")
    return Box("nodule", tuple(map(float, lower)), tuple(map(float, upper)))


def _nodules(path: Path) -> dict[str, list[Nodule]]:
    """Nodules by seriesuid. Raises UserError."""
    if not path.is_file():
        raise UserError(f"dataset.source.annotations: {path}: no such table; copy annotations.csv of LUNA16")
    found: dict[str, list[Nodule]] = defaultdict(list)
    problems = []
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        lacking = [name for name in COLUMNS if name not in (reader.fieldnames or [])]
        if lacking:
            raise UserError(f"{path}: has no column {', '.join(lacking)}; choose annotations.csv of LUNA16")
        for row in reader:
            try:
                x, y, z, diameter = (float(row[name]) for name in COLUMNS[1:])
                if not math.isfinite(x + y + z) or not 0 < diameter < math.inf:
                    raise ValueError
            except (TypeError, ValueError):
                problems.append(f"row {reader.line_num}: {', '.join(str(row[name]) for name in COLUMNS)}")
                continue
            found[row["seriesuid"]].append(((-x, -y, z), diameter))  # LPS to RAS
    if problems:
        raise Faults(f"{len(problems)} rows of {path} are no nodules (uid, place and diameter in mm)", problems)
    return found
