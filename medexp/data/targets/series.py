"""Values as targets: one a frame of a study, of which the last are to be predicted."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from medexp.data.frames import count
from medexp.data.records import Record
from medexp.errors import UserError


def values(record: Record, classes: Sequence[str]) -> Tensor:
    """float (T,): what was measured at each frame. Raises UserError."""
    given = record.target
    where = f"case {record.case_id}: "
    if not isinstance(given, list | tuple):
        raise UserError(
            f"{where}target {given!r} is no list of a value a frame; name their column (dataset.source.value), or choose another task"
        )
    odd = [value for value in given if not isinstance(value, int | float) or not math.isfinite(value)]
    if odd:
        raise UserError(f"{where}the value {odd[0]!r} of a frame is no finite number; mend the table")
    if len(given) != count(record):
        raise UserError(f"{where}{len(given)} values for {count(record)} frames; give one a frame")
    return torch.tensor(given, dtype=torch.float32)
