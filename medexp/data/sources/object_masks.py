"""A folder an image with one mask an object in it: <case>/images/<image>, <case>/masks/<mask> (BBBC038, Caicedo et al.
2019, Nat. Methods 16:1247)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

from medexp.data.formats.objects import object_edges
from medexp.data.formats.scan import Unreadable, Wanted
from medexp.data.parallel import attempt
from medexp.data.records import Box, Record
from medexp.data.sources.folders import images_below, inside, need_folder, sorted_unique
from medexp.errors import Faults, UserError


def records(
    root: Path,
    *,
    images: str = "images",
    masks: str = "masks",
    boxes: str | None = None,
    target: Literal["count"] | None = None,
) -> list[Record]:
    """A record a folder of `root` that is not hidden; its label map is the folder of masks, read as their union.

    images, masks: names of the two folders in each. boxes: name of the class of the objects, whose boxes are then read from
    their masks (some 1000 masks a second); None: without boxes. target: "count" makes the number of masks the target. Raises
    Faults naming every case without exactly one image, or without a folder of masks.
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
            count = len(images_below(label)) if target == "count" and label.is_dir() else None
            found.append(Record(case.name, (pictures[0],), label, count))
    if problems:
        raise Faults(f"{len(problems)} faults in the folders of {root}", problems)
    return sorted_unique(found if boxes is None else _boxed(found, boxes), root)


def _boxed(found: list[Record], name: str) -> list[Record]:
    """The records with a box an object. Raises Faults naming every mask that cannot be read."""

    def one(record: Record) -> Record:
        assert record.label is not None
        try:
            edges = object_edges(record.label, Wanted(2, 1, label=True))
        except Unreadable as error:
            raise UserError(f"case {record.case_id}: {record.label}: {error}") from None
        return replace(record, boxes=tuple(Box(name, lower, upper) for lower, upper in edges))

    boxed, faults = attempt(found, one, "reading boxes")
    if faults:
        raise Faults(f"{len(faults)} of {len(found)} cases cannot be used", faults)
    return [record for record in boxed if record is not None]
