"""Columns of per-case results to numbers that JSON can hold."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

Value = float | None


def defined(value: Any) -> bool:
    """Whether a cell holds a number: neither blank nor NaN (a blank read back from a table)."""
    return value is not None and value == value


def mean(values: Iterable[Value]) -> Value:
    """Mean of the defined values, None where there is none."""
    kept = [float(value) for value in values if value is not None and defined(value)]
    return math.fsum(kept) / len(kept) if kept else None


def describe(values: Sequence[Value]) -> dict[str, Any]:
    """mean, std (sample, n - 1; None below two), n and n_absent (cells left blank, not in the mean) of a column."""
    kept = [float(value) for value in values if value is not None and defined(value)]
    centre = mean(kept)
    spread = None
    if centre is not None and len(kept) > 1:
        spread = math.sqrt(math.fsum((value - centre) ** 2 for value in kept) / (len(kept) - 1))
    return {"mean": centre, "std": spread, "n": len(kept), "n_absent": len(values) - len(kept)}


def column(measure: str, name: str) -> str:
    """Column of a measure for one class: `dice_left_kidney`."""
    return f"{measure}_{name.replace(' ', '_')}"
