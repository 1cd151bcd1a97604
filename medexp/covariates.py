"""What is known of a case beside its image (age, sex, centre), as numbers for a network.

`dataset.covariates` names them. What becomes of each is found in the training split and settled in the run's config.yaml:
`{mean: 61.2, std: 9.8}` of a number, the list of its values of a category.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from medexp.errors import UserError

Entries = Mapping[str, Any]  # of each covariate: what it becomes; None or "category" until that is found
Row = Mapping[str, str | None] | None  # cells of a case by name; None: nothing is known of it
MISSING = ("", "n/a", "na", "nan", "none", "null")
MOST = 20  # values of a category


def entries(given: Sequence[str] | Entries | None) -> dict[str, Any]:
    """`dataset.covariates` by name. Raises UserError for an entry that is none."""
    found = dict(given) if isinstance(given, Mapping) else dict.fromkeys(given or ())
    for name, entry in found.items():
        number = isinstance(entry, Mapping) and set(entry) == {"mean", "std"} and entry["std"] > 0
        if not (number or entry in (None, "category") or (isinstance(entry, list | tuple) and entry)):
            allowed = "null (found out), category, a list of its values, or {mean: ..., std: ...}"
            raise UserError(f"dataset.covariates.{name}: {entry!r}; allowed: {allowed}")
    return found


def settled(known: Entries) -> bool:
    return all(isinstance(entry, Mapping | list | tuple) for entry in known.values())


def learned(known: Entries, rows: Sequence[Row]) -> dict[str, Any]:
    """Entries with what the training cases say of those that are not known. A covariate whose cells are all numbers is one.
    Raises UserError where a covariate has no value, or is no category."""
    return {name: entry if settled({name: entry}) else _learned(name, entry, rows) for name, entry in known.items()}


def _learned(name: str, entry: str | None, rows: Sequence[Row]) -> Any:
    cells = [cell for row in rows if (cell := _cell(row, name)) is not None]
    if not cells:
        raise UserError(f"dataset.covariates: none of {len(rows)} training cases has a value of {name}; leave it out")
    numbers = [_number(cell) for cell in cells]
    if entry is None and all(number is not None for number in numbers):
        values = [number for number in numbers if number is not None]
        mean = math.fsum(values) / len(values)
        std = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values))
        return {"mean": mean, "std": std or 1.0}
    values_ = sorted(set(cells))
    if len(values_) > MOST:
        seen = f"{len(values_)} values in {len(cells)} training cases (e.g. {values_[0]!r}, {values_[1]!r})"
        raise UserError(
            f"dataset.covariates.{name}: {seen} are no category (at most {MOST}) and no numbers; leave it out"
        )
    return values_


def encoded(known: Entries, row: Row) -> list[float]:
    """Of each covariate: a number less the mean, over the standard deviation, or a category's one-hot; then 1 where it is
    missing (or of a category that training has not seen), where the others are 0, the mean."""
    found: list[float] = []
    for name, entry in known.items():
        values = _values(name, entry, row)
        found += [*(values or [0.0] * (width({name: entry}) - 1)), 0.0 if values else 1.0]
    return found


def _values(name: str, entry: Any, row: Row) -> list[float] | None:
    cell = _cell(row, name)
    if cell is None:
        return None
    if isinstance(entry, list | tuple):
        return [float(cell == str(value)) for value in entry] if cell in map(str, entry) else None
    number = _number(cell)
    if number is None:
        raise UserError(f"covariate {name}: {cell!r} is no number, as it is in training; mend the table")
    return [(number - float(entry["mean"])) / float(entry["std"])]


def width(known: Entries) -> int:
    """How many numbers a case has; before anything is learnt, as many as if all were numbers."""
    return sum(len(entry) + 1 if isinstance(entry, list | tuple) else 2 for entry in known.values())


def lacking(known: Entries, rows: Sequence[Row]) -> list[str]:
    """A word on each covariate that some cases lack, or of which they have a value that training has not seen."""
    said = []
    for name, entry in known.items():
        cells = [_cell(row, name) for row in rows]
        values = set(map(str, entry)) if isinstance(entry, list | tuple) else None
        unseen = sorted({cell for cell in cells if cell is not None and values is not None and cell not in values})
        if missing := cells.count(None):
            said.append(f"{missing} of {len(rows)} cases have no {name}: the mean of training stands in, with a mark")
        if unseen:
            said.append(f"{name} {', '.join(unseen[:5])}: not seen in training, taken as missing")
    return said


def _cell(row: Row, name: str) -> str | None:
    cell = None if row is None else row.get(name)
    text = "" if cell is None else str(cell).strip()
    return None if text.lower() in MISSING else text


def _number(cell: str) -> float | None:
    try:
        number = float(cell)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
