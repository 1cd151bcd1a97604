"""Label maps whose values stand for classes otherwise than by index (`dataset.label_values`)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medexp.data.formats.scan import Array
from medexp.data.records import Record
from medexp.errors import UserError
from medexp.targets import IGNORED

TABLE = 2**16  # label values that lie this close together are looked up in a table
CHUNK = 2**20  # voxels looked up in one go


def check_label_values(values: list[list[int]]) -> None:
    together = [value for entry in values for value in entry]
    odd = [value for value in together if not isinstance(value, int) or isinstance(value, bool)]
    if odd or not all(values) or not values:
        seen = f"{odd[0]!r} is no whole number" if odd else "a class has no value"
        raise UserError(
            f"dataset.label_values: {seen}; give each class a value of the label files, or a list of values"
        )
    twice = sorted({value for value in together if together.count(value) > 1})
    if twice:
        raise UserError(f"dataset.label_values: {', '.join(map(str, twice))} stand for several classes; name each once")


def class_indices(array: Array, values: list[list[int]]) -> Array:
    """For each voxel the index of the list that holds its value; len(values) where none does. uint8 where that fits."""
    pairs = sorted((value, index) for index, entry in enumerate(values) for value in entry)
    known, classes = np.array([value for value, _ in pairs]), np.array([index for _, index in pairs])
    low, high = int(known[0]), int(known[-1])
    table = np.full(high - low + 3, len(values)) if high - low < TABLE else None  # its ends are for what lies beyond
    if table is not None:
        table[known - low + 1] = classes
    made = np.empty(array.size, dtype=np.uint8 if len(values) < 256 else np.int32)
    for start in range(0, array.size, CHUNK):
        part = array.reshape(-1)[start : start + CHUNK].astype(np.int64)
        if table is not None:
            made[start : start + CHUNK] = table[part.clip(low - 1, high + 1) - (low - 1)]
        else:
            place = np.searchsorted(known, part).clip(max=len(known) - 1)
            made[start : start + CHUNK] = np.where(known[place] == part, classes[place], len(values))
    return made.reshape(array.shape)


def ignored(array: Array, values: int | Sequence[int] | None) -> Array | None:
    """Where a label file has one of these values (`dataset.ignore`), boolean; None where none is asked for."""
    return None if values is None else np.isin(array, values)


def with_ignored(classes: Array, where: Array) -> Array:
    """Class indices, below IGNORED, with IGNORED there; uint8."""
    made = classes.astype(np.uint8)
    made[where] = IGNORED
    return made


def unlisted(record: Record, outside: Array, values: list[list[int]]) -> str:
    """What to say of voxels whose values stand for no class."""
    pairs = list(zip(*map(np.ndarray.tolist, np.unique(outside, return_counts=True)), strict=True))
    listed = ", ".join(f"{value} ({count} voxels)" for value, count in pairs[:5])
    listed += f" and {len(pairs) - 5} more" if len(pairs) > 5 else ""
    allowed = ", ".join(str(value) for entry in values for value in entry)
    what = f"label values {listed} are outside of {allowed} (dataset.label_values); list them or mend the file"
    return f"case {record.case_id}: {record.label}: {what}"
