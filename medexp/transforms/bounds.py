"""Checks of numbers in the leaves of transforms: each names its key, what was seen and what is allowed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medexp.errors import UserError


def number(key: str, value: Any, low: float, high: float) -> float:
    """`value` as a float; UserError unless it is a number in [low, high]."""
    if not _is_number(value) or not low <= value <= high:
        raise UserError(f"augmentation.{key}: got {value!r}; allowed: a number from {low:g} to {high:g}")
    return float(value)


def probability(key: str, value: Any) -> float:
    """`value` as a probability; UserError unless it lies in [0, 1]."""
    if not _is_number(value) or not 0 <= value <= 1:
        raise UserError(f"augmentation.{key}: got {value!r}; allowed: a probability from 0 (off) to 1 (always)")
    return float(value)


def per_axis(key: str, value: Any, count: int, low: float, high: float) -> tuple[float, ...]:
    """One number for all `count` axes, or a list of `count`, as a tuple of `count` floats in [low, high]."""
    values = [value] * count if _is_number(value) else value
    if _is_list(values) and len(values) == count and all(_is_number(v) and low <= v <= high for v in values):
        return tuple(float(v) for v in values)
    several = f", or a list of {count} (one per axis)" if count > 1 else ""
    raise UserError(f"augmentation.{key}: got {value!r}; allowed: a number from {low:g} to {high:g}{several}")


def interval(key: str, value: Any, low: float, high: float, group: str = "augmentation") -> tuple[float, float]:
    """A list [smallest, largest] within [low, high], as a tuple."""
    if _is_list(value) and len(value) == 2 and all(_is_number(v) for v in value):
        smallest, largest = value
        if low <= smallest <= largest <= high:
            return float(smallest), float(largest)
    raise UserError(
        f"{group}.{key}: got {value!r}; allowed: [smallest, largest], both from {low:g} to {high:g}, in this order"
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)
