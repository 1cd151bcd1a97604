"""One stack of sections as a multi-page TIFF with its label maps in another (ISBI 2012: Arganda-Carreras et al. 2015,
Front. Neuroanat. 9:142)."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal

from medexp.data.formats.picture import tiff_pages
from medexp.data.formats.scan import Unreadable
from medexp.data.records import Record, Slice
from medexp.data.sources.folders import inside, need_folder
from medexp.errors import Faults, UserError

log = logging.getLogger(__name__)


def records(
    root: Path,
    *,
    volume: str = "train-volume.tif",
    labels: str = "train-labels.tif",
    pages: Literal["each", "whole"] = "each",
    block: int = 5,
) -> list[Record]:
    """A record a page ("each"), or one for the stack ("whole", a 3D volume). Only headers are read. Raises UserError.

    block: pages in a row that stand for one patient, so that no block falls into two parts of a split. Neighbouring
    sections are nearly alike, and pages dealt one by one would put a copy of nearly every test page into training. The
    sections on either side of a border between two blocks remain neighbours, and all come from one piece of tissue of
    one animal: such a score says how well other sections of this tissue are segmented, not those of another.
    """
    need_folder(root)
    if pages not in ("each", "whole"):
        raise UserError(f"dataset.source.pages: '{pages}' is not one of each, whole")
    if block < 1:
        raise UserError(f"dataset.source.block: {block} is less than 1")
    image, label = inside(root, volume, "dataset.source.volume"), inside(root, labels, "dataset.source.labels")
    counts = _pages(root, [image, label])
    if counts[0] != counts[1]:
        raise UserError(
            f"{label}: {counts[1]} pages for {counts[0]} in {image.name}; give the label maps of this stack"
        )
    if (rest := root / "test-volume.tif").is_file() and rest != image:
        log.info("%s has no label maps and is left out", rest)
    if pages == "whole":
        return [Record(image.stem, (image,), label)]
    if counts[0] < 3 * block:
        seen = f"{block} pages make {-(-counts[0] // block)} blocks of the {counts[0]} in {image.name}"
        raise UserError(f"dataset.source.block: {seen}, but train, val and test need one each; give a smaller number")
    return [
        Record(
            f"{image.stem}_{page:03d}",
            (image,),
            label,
            patient_id=f"{image.stem}_{page // block * block:03d}",
            slice=Slice("axial", page),
        )
        for page in range(counts[0])
    ]


def _pages(root: Path, paths: list[Path]) -> list[int]:
    counts, problems = [], []
    for path in paths:
        try:
            if not path.is_file():
                raise Unreadable("no such file")
            counts.append(tiff_pages(path))
        except Unreadable as error:
            problems.append(f"{path}: {error}")
    if problems:
        raise Faults(f"dataset.root: {len(problems)} stacks of {root} cannot be used; set dataset.root=PATH", problems)
    return counts
