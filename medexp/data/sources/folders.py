"""What all sources share: a root that must be there, paths that must stay inside it, ids that must be unique."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from medexp.data.images import SUFFIXES
from medexp.data.records import Record
from medexp.errors import Faults, UserError


def need_folder(root: Path) -> None:
    """Raises UserError where the root of a data set is not a readable folder."""
    if not root.exists():
        raise UserError(
            f"dataset.root: {root} does not exist; set dataset.root=PATH, or MEDEXP_DATA to the folder of all data sets; "
            "`medexp fetch` gets named ones"
        )
    if not root.is_dir():
        raise UserError(f"dataset.root: {root} is not a folder; set dataset.root=PATH")


def inside(root: Path, relative: str, where: str) -> Path:
    """root/relative. Raises UserError where a table or description points outside of the data set."""
    if not relative or Path(relative).is_absolute() or ".." in Path(relative).parts:
        raise UserError(
            f"{where}: '{relative}' does not lie below {root}; give a path relative to it (a link there may lead anywhere)"
        )
    return root / relative


def images_below(folder: Path) -> list[Path]:
    """Image files of a folder (not of folders in it), sorted, hidden files left out. The folder is looked at once, not
    each file: a link that leads nowhere is an image here, and named when it is read."""
    with os.scandir(folder) as entries:
        names = [
            entry.name
            for entry in entries
            if entry.name.lower().endswith(SUFFIXES) and not entry.name.startswith(".") and not _is_folder(entry)
        ]
    return [folder / name for name in sorted(names)]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # links in a circle
        return False


def sorted_unique(found: list[Record], root: Path) -> list[Record]:
    """Records by case id. Raises Faults naming every id that stands twice."""
    twice = [case for case, count in Counter(record.case_id for record in found).items() if count > 1]
    if twice:
        raise Faults(f"{len(twice)} case ids stand twice in {root}", sorted(twice))
    return sorted(found, key=lambda record: record.case_id)
