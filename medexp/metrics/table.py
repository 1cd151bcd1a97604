"""What every scorer shares: the names of columns, blank cells, and the summary of one column."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from medexp.errors import UserError

BLANK = None  # a cell whose value is not defined: an empty field in a table
Cell = float | int | str | None
Row = dict[str, Cell]


def column_names(classes: Sequence[str]) -> list[str]:
    """The class names as they appear in column names: runs of white space become one `_`.

    Raises `UserError` where two classes would share a column.
    """
    names = ["_".join(str(name).split()) for name in classes]
    twice = sorted({name for name in names if names.count(name) > 1 or not name})
    if twice:
        raise UserError(
            f"dataset.classes: {list(classes)}: {twice} is empty or names two columns; give every class its own name"
        )
    return names


def number(cell: Any) -> float | None:
    """A cell as a float; None for a blank one (`""`, None, or the NaN that pandas reads from an empty field)."""
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        return None
    value = float(cell)
    return None if math.isnan(value) else value


def text(cell: Any) -> str:
    """A cell as a string; `""` for a blank one."""
    return "" if cell is None or (isinstance(cell, float) and math.isnan(cell)) else str(cell)


def mean(values: Iterable[float]) -> float | None:
    """Mean, exact to the last bit whatever the order (`math.fsum`); None of nothing."""
    values = list(values)
    return math.fsum(values) / len(values) if values else None


def describe(cells: Iterable[Any], absent: str) -> dict[str, Any]:
    """Mean, sample standard deviation (n - 1) and counts of one column; `absent` is the reason where all is blank.

    Keys: `mean`, `std` (None below two values), `n` (defined cells), `n_absent` (blank cells), and `reason` where
    `mean` is None. Plain JSON values, never NaN.
    """
    cells = [number(cell) for cell in cells]
    values = [value for value in cells if value is not None]
    center = mean(values)
    spread = None
    if center is not None and len(values) > 1:
        spread = math.sqrt(math.fsum((value - center) ** 2 for value in values) / (len(values) - 1))
    summary: dict[str, Any] = {"mean": center, "std": spread, "n": len(values), "n_absent": len(cells) - len(values)}
    if center is None:
        summary["reason"] = absent if cells else "no cases"
    return summary
