"""Boxes in a CSV table, a row a box: the image, the class, the edges in voxels. What `medexp predict` writes of a detector is
such a table, once a column names the images."""

from __future__ import annotations

import csv as csv_format
import math
from dataclasses import dataclass, field
from pathlib import Path

from medexp.data.images import suffix
from medexp.data.records import Box, Record
from medexp.data.sources.folders import inside, need_folder, sorted_unique
from medexp.errors import Faults, UserError, nearest

PARTS = ("train", "val", "test")


@dataclass
class _Case:
    patient: str
    split: str
    boxes: list[Box] = field(default_factory=list)


def records(
    root: Path,
    *,
    csv: str = "boxes.csv",
    spatial_dims: int = 3,
    image: str = "image",
    label: str = "class",
    patient: str | None = None,
    split: str | None = None,
) -> list[Record]:
    """A record an image of the table, with all its boxes; a row without a class says that its image has none.

    image (path below root), label, patient, split (train, val, test): names of columns. The edges are in the columns
    lower_0, lower_1[, lower_2], upper_0, upper_1[, upper_2]: voxels along the axes of the image's array, voxel i lies
    between the edges i and i + 1. Raises Faults naming every row that cannot be used.
    """
    need_folder(root)
    path = inside(root, csv, "dataset.source.csv")
    if not path.is_file():
        raise UserError(f"dataset.source.csv: {path}: no such table; set dataset.source.csv=FILE or dataset.root=PATH")
    edges = [f"{side}_{axis}" for side in ("lower", "upper") for axis in range(spatial_dims)]
    cases: dict[str, _Case] = {}
    problems = []
    for number, row in _rows(path, [image, label, *filter(None, (patient, split)), *edges]):
        try:
            case = _Case(row[patient] if patient else "", row[split] if split else "")
            first = cases.setdefault(_named(root, row[image], image), case)
            if (first.patient, first.split) != (case.patient, case.split):
                raise ValueError(f"{row[image]} has another patient or split in an earlier row")
            if split and case.split not in PARTS:
                raise ValueError(f"split '{case.split}' is not one of {', '.join(PARTS)}")
            if row[label]:
                first.boxes.append(_box(row, label, edges))
        except ValueError as error:
            problems.append(f"row {number}: {error}")
    problems += [f"{root / name}: no such file" for name in cases if not (root / name).is_file()]
    if problems:
        raise Faults(f"{len(problems)} faults in {path}", problems)
    found = [
        Record(_case_id(name), (root / name,), None, None, case.patient, case.split or None, boxes=tuple(case.boxes))
        for name, case in cases.items()
    ]
    return sorted_unique(found, root)


def _rows(path: Path, columns: list[str]) -> list[tuple[int, dict[str, str]]]:
    """Line number and stripped cells of each row. Raises UserError."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        try:
            reader = csv_format.DictReader(file, strict=True, restval="")
            known = list(reader.fieldnames or [])
            for name in columns:
                if name not in known:
                    hint = nearest(name, known) or ";"
                    raise UserError(f"{path}: has no column '{name}'{hint} columns: {', '.join(known)}")
            return [(reader.line_num, {name: (row[name] or "").strip() for name in columns}) for row in reader]
        except (csv_format.Error, UnicodeDecodeError) as error:
            raise UserError(f"{path}: cannot be read as a table ({error}); save it as CSV in UTF-8") from None


def _named(root: Path, cell: str, column: str) -> str:
    """Raises ValueError for a path that is empty or leads out of the root."""
    if not cell:
        raise ValueError(f"column '{column}' is empty")
    try:
        return str(inside(root, cell, f"column '{column}'").relative_to(root))
    except UserError as error:
        raise ValueError(str(error)) from None


def _box(row: dict[str, str], label: str, edges: list[str]) -> Box:
    """Raises ValueError saying what is wrong."""
    values = []
    for name in edges:
        try:
            value = float(row[name])
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise ValueError(f"{name} is '{row[name]}', not a number")
        values.append(value)
    half = len(values) // 2
    return Box(row[label], tuple(values[:half]), tuple(values[half:]))


def _case_id(name: str) -> str:
    return name[: len(name) - len(suffix(Path(name)))].replace("/", "_")
