"""Which class a case stands for where a data set is divided or drawn by class: the rarest that is present in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from medexp.data.records import Record


def classes_of(record: Record) -> list[str]:
    """The classes of a record: one, several (a list of names, or of 0 and 1), or none where its target is a measure."""
    target = record.target
    if isinstance(target, str | int):
        return [str(target)]
    if not isinstance(target, list | tuple):
        return []
    if all(isinstance(value, str) for value in target):
        return list(target)
    if all(isinstance(value, int) and value in (0, 1) for value in target):
        return [str(index) for index, value in enumerate(target) if value]
    return []


def rarest(classes: Sequence[Sequence[str]]) -> list[str]:
    """For each entry (a case's classes, or a patient's over all cases) the one that is rarest in all; "" without any.

    Of two that are equally rare it is the first in alphabetical order.
    """
    tally = Counter(name for names in classes for name in names)
    return [min(names, key=lambda name: (tally[name], name), default="") for names in classes]
