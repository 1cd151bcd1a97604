"""Wrong labels on purpose, to see what a way to learn makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from medexp.data.records import Record
from medexp.data.targets import encode
from medexp.errors import UserError
from medexp.seeding import derive

KINDS = ("index", "binary", "ordinal")  # of targets that are one of several classes


def check_noise(share: float, target: str) -> float:
    """The share. Raises UserError where it is no share, or the task has no classes that could be exchanged."""
    if not 0 <= share < 1:
        raise UserError(f"dataset.label_noise: {share} is not from 0 to below 1; 0.4 exchanges the class of 40 %")
    if share and target not in KINDS:
        raise UserError(
            f"dataset.label_noise: {share}, but a target of the kind '{target}' is not one of several classes "
            f"({', '.join(KINDS)} are); set dataset.label_noise=0"
        )
    return share


def noisy(records: Sequence[Record], share: float, seed: int, classes: Sequence[str]) -> list[Record]:
    """The records, of which a share in expectation has another class, each of the others as often (symmetric noise).

    Whether and which is a function of seed and case id alone. Raises UserError for a case whose class is not known.
    """
    return [_noisy(record, share, seed, classes) if share else record for record in records]


def _noisy(record: Record, share: float, seed: int, classes: Sequence[str]) -> Record:
    if derive(seed, "label noise", record.case_id) >= share * 2**31:
        return record
    true = int(encode(record, classes, "index").item())
    other = 1 + derive(seed, "wrong label", record.case_id) % (len(classes) - 1)
    return replace(record, target=str(classes[(true + other) % len(classes)]))
