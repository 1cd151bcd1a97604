"""A folder of masks, one an object (a cell, a nucleus), as one label map."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medexp.data.formats.picture import PICTURES, TIFF, read_picture, read_tiff
from medexp.data.formats.scan import Array, Scan, Unreadable, Wanted

SHOWN = 5  # offenders that a message names; a folder may hold hundreds


def read_objects(folder: Path, wanted: Wanted) -> Scan:
    """The union of the masks of a folder as class 1: uint8 (1, *spatial); objects may overlap. Hidden files are passed
    over.

    Raises Unreadable naming every mask that cannot be read, has another size than the first, marks nothing or has
    values besides 0 and one other.
    """
    names = _names(folder)
    union: Array | None = None
    problems = []
    for name in names:
        try:
            mask = _mask(folder / name, wanted)
            if union is not None and mask.shape != union.shape:
                raise Unreadable(f"has shape {mask.shape[1:]}, {names[0]} has {union.shape[1:]}")
            union = mask if union is None else union | mask
        except Unreadable as error:
            problems.append(f"{name} {error}")
    if problems or union is None:
        more = f" and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise Unreadable(f"{len(problems)} of {len(names)} masks cannot be used: {'; '.join(problems[:SHOWN])}{more}")
    return Scan(union.astype(np.uint8), np.eye(4), (1.0,) * (union.ndim - 1))


def object_edges(folder: Path, wanted: Wanted) -> list[tuple[tuple[float, ...], tuple[float, ...]]]:
    """The box of each mask of a folder, in the order of their names: first voxel along each axis, and the one after the
    last. Raises Unreadable."""
    found = []
    for name in _names(folder):
        try:
            places = np.nonzero(_mask(folder / name, wanted)[0])
        except Unreadable as error:
            raise Unreadable(f"{name} {error}") from None
        found.append((tuple(float(each.min()) for each in places), tuple(float(each.max() + 1) for each in places)))
    return found


def _names(folder: Path) -> list[str]:
    names = sorted(
        path.name
        for path in folder.iterdir()
        if path.name.lower().endswith((*PICTURES, *TIFF)) and not path.name.startswith(".")
    )
    if not names:
        raise Unreadable("holds no masks (one picture an object is expected); copy it again or leave the case out")
    return names


def _mask(path: Path, wanted: Wanted) -> Array:
    """Boolean (1, *spatial). Raises Unreadable."""
    read = read_tiff if path.name.lower().endswith(TIFF) else read_picture
    array = read(path, Wanted(wanted.spatial_dims, 1, label=True)).array
    marked = array[array != 0]
    if not marked.size:
        raise Unreadable("marks no pixel")
    if marked.min() != marked.max():
        raise Unreadable(f"has values {marked.min()} to {marked.max()} besides 0; a mask has one")
    return np.asarray(array != 0)
