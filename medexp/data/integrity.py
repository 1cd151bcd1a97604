"""What can be wrong with a case that reads well, and with cases that are each sound on their own."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import product

import numpy as np

from medexp.data.images import suffix
from medexp.data.formats.nifti import NIFTI
from medexp.data.progress import track
from medexp.data.records import Record
from medexp.data.formats.scan import Scan
from medexp.data.targets import encode
from medexp.errors import UserError

DISPLACED = 0.1  # voxels that a corner of the label may lie off the image's


@dataclass
class Report:
    """Errors stop a run; warnings are said."""

    cases: int
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def errors(record: Record, image: Scan, label: Scan, classes: Sequence[str]) -> list[str]:
    """Faults of an image with its label map: shapes, places in space, values outside of the classes."""
    where = f"case {record.case_id}: {record.label}: "
    shape = image.array.shape[1:]
    if label.array.shape != shape:
        return [f"{where}label shape {label.array.shape} differs from image shape {shape}; resample one onto the other"]
    found = []
    placed = all(path is not None and suffix(path) in NIFTI for path in (record.images[0], record.label))
    displaced = displacement(image.affine, label.affine, shape) if placed else 0.0  # a PNG lies nowhere in space
    if displaced > DISPLACED:
        found.append(f"{where}label lies {displaced:.1f} voxels off the image (affines differ); mend or resample it")
    if label.array.min() >= 0 and label.array.max() < len(classes):
        return found  # by far the most cases; counting values takes many times as long
    values, counts = np.unique(label.array, return_counts=True)
    outside = {int(v): int(n) for v, n in zip(values, counts, strict=True) if not 0 <= v < len(classes)}
    if outside:
        listed = ", ".join(f"{value} ({count} voxels)" for value, count in list(outside.items())[:5])
        allowed = f"0..{len(classes) - 1} (dataset.classes: {', '.join(classes)})"
        found.append(f"{where}label values {listed} are outside of {allowed}")
    return found


def displacement(one: np.ndarray, other: np.ndarray, shape: Sequence[int]) -> float:
    """Largest distance, in voxels of `one`, between the places that two affines give the corners of a grid."""
    ends = [(0, max(size - 1, 0)) for size in shape] + [(0, 0)] * (3 - len(shape))
    corners = np.asarray([(*corner, 1.0) for corner in product(*ends)])
    moved = corners @ other.T @ np.linalg.inv(one).T
    return float(np.abs(moved - corners)[:, : len(shape)].max())


def suspicions(record: Record, image: Scan, label: Scan | None) -> list[str]:
    """What is allowed but seldom meant: constant images, label maps without any foreground."""
    found = []
    flat = [index for index, channel in enumerate(image.array) if channel.min() == channel.max()]
    if flat:
        path = record.images[min(flat[0], len(record.images) - 1)]
        found.append(f"case {record.case_id}: {path}: every voxel has the same value")
    if label is not None and not label.array.any():
        found.append(f"case {record.case_id}: {record.label}: the label map is empty (background only)")
    return found


def check_records(
    records: Sequence[Record],
    read: Callable[[Record], tuple[Scan, Scan | None]],
    classes: Sequence[str],
    target: str,
) -> Report:
    """Reads every case to its last byte and compares them; nothing is raised, everything is listed."""
    report = Report(len(records))

    def one(record: Record) -> tuple[list[str], list[str], str]:
        try:
            image, label = read(record)
            wrong = errors(record, image, label, classes) if label is not None else []
            if target != "mask":
                encode(record, classes, target)
        except UserError as error:
            return [str(error)], [], ""
        digest = hashlib.blake2b(np.ascontiguousarray(image.array).data, digest_size=16)
        return wrong, suspicions(record, image, label), f"{image.array.shape} {digest.hexdigest()}"

    same: dict[str, list[Record]] = defaultdict(list)
    with ThreadPoolExecutor() as pool:
        outcomes = track(pool.map(one, records), len(records), "checking")
        for record, (wrong, odd, digest) in zip(records, outcomes, strict=True):
            report.errors += wrong
            report.warnings += odd
            if digest:
                same[digest].append(record)
    for twins in (group for group in same.values() if len(group) > 1):
        names = ", ".join(record.case_id for record in twins)
        if len({record.split for record in twins}) > 1:
            report.errors.append(f"cases {names}: the same image is in two parts of the given split")
        else:
            report.warnings.append(f"cases {names}: hold the same image")
    return report
