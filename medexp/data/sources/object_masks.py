"""A folder an image with one mask an object in it: <case>/images/<image>, <case>/masks/<mask> (BBBC038, Caicedo et al.
2019, Nat. Methods 16:1247)."""

from __future__ import annotations

from pathlib import Path

from medexp.data.records import Record
from medexp.data.sources.folders import images_below, inside, need_folder, sorted_unique
from medexp.errors import Faults, UserError


def records(root: Path, *, images: str = "images", masks: str = "masks") -> list[Record]:
    """A record a folder of `root` that is not hidden; its label map is the folder of masks, read as their union.

    images, masks: names of the two folders in each. Raises Faults naming every case without exactly one image, or
    without a folder of masks.
    """
    need_folder(root)
    cases = sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not cases:
        raise UserError(
            f"dataset.root: {root} has no folders; a folder an image is expected, with {images}/ and {masks}/"
        )
    found, problems = [], []
    for case in cases:
        where = inside(case, images, "dataset.source.images")
        label = inside(case, masks, "dataset.source.masks")
        pictures = images_below(where) if where.is_dir() else []
        if len(pictures) != 1:
            problems.append(f"case {case.name}: {where}: holds {len(pictures)} images, one is expected")
        if not label.is_dir():
            problems.append(f"case {case.name}: {label}: no such folder, so it has no label map")
        if pictures:
            found.append(Record(case.name, (pictures[0],), label))
    if problems:
        raise Faults(f"{len(problems)} faults in the folders of {root}", problems)
    return sorted_unique(found, root)
