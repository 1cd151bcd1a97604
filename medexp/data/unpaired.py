"""Two sets of images that no case belongs to both of: what unpaired translation learns from."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch.utils.data import Dataset

from medexp.data.cases import Item, TrainCases
from medexp.data.order import Draw
from medexp.data.records import Record
from medexp.errors import UserError
from medexp.seeding import derive

log = logging.getLogger(__name__)
REFERENCE = "reference"
MIXED = 1 << 20  # repeats that no order of an epoch comes to


class Unpaired(Dataset[Item]):
    """Items of the first set with the reference of an item of the second: which one, and its patch and augmentation, is
    f(seed, draw).

    second: indices of its cases.
    """

    def __init__(self, cases: TrainCases, second: Sequence[int], seed: int) -> None:
        self.cases, self.second, self.seed = cases, second, seed

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, draw: Draw) -> Item:
        partner = derive(self.seed, "partner", draw.epoch, draw.index, draw.repeat)
        other = Draw(draw.epoch, self.second[partner % len(self.second)], MIXED + partner)
        return {**self.cases[draw], REFERENCE: self.cases[other][REFERENCE]}


def wanted(degradation: Callable[..., Any] | None) -> bool:
    """Whether training is to see no pairs."""
    return bool(getattr(degradation, "unpaired", False))


def sets(records: Sequence[Record], degradation: Any, seed: int) -> tuple[list[int], list[int]]:
    """Indices of the cases of either set: those that have the channels of the one alone, and, of patients who have both,
    every second one's. Which ones is f(seed, patients). Raises UserError where a set is empty."""
    gives = [(_has(record, degradation.inputs), _has(record, degradation.outputs)) for record in records]
    both = [record for record, given in zip(records, gives, strict=True) if all(given)]
    patients = {record.group for record in both}
    units = {record.case_id: record.group if len(patients) > 1 else record.case_id for record in both}
    if len(patients) == 1 and len(both) > 1:  # a quick look: debug=fast
        log.warning("unpaired: one training patient alone: some of their scans give the one image, some the other")
    ordered = sorted(set(units.values()), key=lambda unit: derive(seed, "set", unit))
    side = {unit: place % 2 for place, unit in enumerate(ordered)}
    found: tuple[list[int], list[int]] = ([], [])
    for index, (record, (one, other)) in enumerate(zip(records, gives, strict=True)):
        if one or other:
            found[side[units[record.case_id]] if one and other else int(other)].append(index)
    for name, channels, cases in zip(
        ("inputs", "outputs"), (degradation.inputs, degradation.outputs), found, strict=True
    ):
        if not cases:
            raise UserError(
                f"degradation.{name}: no training case is left that gives channels {channels}; two are needed at least"
            )
    log.info("unpaired: %d training cases to translate, %d others that show the outcome", *map(len, found))
    return found


def weights(count: int, first: Sequence[int]) -> list[float]:
    """Of the order of an epoch: cases of the first set alone are drawn."""
    of_first = set(first)
    return [float(index in of_first) for index in range(count)]


def scored(parts: Mapping[str, list[Record]], degradation: Any) -> dict[str, list[Record]]:
    """The parts, those that are scored less cases without both images. Raises UserError where none is left."""
    if not wanted(degradation):
        return dict(parts)
    kept = dict(parts)
    for part in ("val", "test"):
        kept[part] = [r for r in parts[part] if _has(r, degradation.inputs) and _has(r, degradation.outputs)]
        if parts[part] and not kept[part]:
            raise UserError(
                f"dataset.split: no case of {part} has channels {degradation.inputs} and {degradation.outputs}, so that nothing "
                "can be scored; put some cases with both there (dataset.split.file)"
            )
    return kept


def _has(record: Record, channels: Sequence[int]) -> bool:
    return not set(record.missing) & set(channels)
