"""Measures as targets: numbers by name, as `medexp.data.values.valued` leaves them in a record."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from medexp.data.records import Record
from medexp.errors import UserError


def values(record: Record, classes: Sequence[str]) -> Tensor:
    """float (T,): a number a target, in the order of `dataset.targets`. `classes` is not used. Raises UserError."""
    given = record.target
    if given is None:
        raise UserError(
            f"case {record.case_id}: has no value; name its column in dataset.source, or leave the case out"
        )
    if not isinstance(given, dict):
        raise UserError(f"case {record.case_id}: target {given!r} has no name; give dataset.targets={{NAME: UNIT}}")
    return torch.tensor([_number(record, name, value) for name, value in given.items()])


def _number(record: Record, name: str, value: object) -> float:
    where = f"case {record.case_id}: {name}"
    if value is None or value == "":
        raise UserError(f"{where}: has no value; name its column in dataset.source, or leave the case out")
    try:
        found = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise UserError(
            f"{where}: {value!r} is no number, nor one of its classes; mend it, or dataset.targets"
        ) from None
    if not math.isfinite(found):
        raise UserError(f"{where}: {found} is not finite; mend it, or leave the case out")
    return found
