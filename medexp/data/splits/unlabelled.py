"""Which training cases are learnt from without a label: a part of the split of its own, beside train, val and test."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Sequence
from dataclasses import replace

from medexp.data.records import Record
from medexp.data.splits.few import by_hash
from medexp.errors import UserError
from medexp.targets import KINDS

log = logging.getLogger(__name__)
UNLABELLED = "unlabelled"  # the part


def check_labelled(labelled: float | None, wanted: bool) -> None:
    """Raises UserError for a number or share of labelled cases that means nothing, or that nothing asks for."""
    if labelled is None:
        return
    if labelled == 1 and isinstance(labelled, float):
        raise UserError("dataset.labelled: 1.0 may be one case or all of them; give 1, or null for all")
    if not math.isfinite(labelled) or labelled <= 0 or (labelled >= 1 and labelled != int(labelled)):
        raise UserError(
            f"dataset.labelled: {labelled} is neither a number of cases nor a share between 0 and 1; null labels all"
        )
    if not wanted:
        raise UserError(
            f"dataset.labelled: {labelled}, but nothing learns from the other cases; choose learning=mean_teacher or "
            "the like, or dataset.split.limit_train for few cases alone"
        )


def has_label(record: Record, target: str) -> bool:
    """Whether a case has what a task of this kind learns from and is evaluated on."""
    kind = KINDS[target]
    of = "label" if kind.label_map else "boxes" if kind.provides == "boxes" else "target"
    return getattr(record, of) is not None


def bare(record: Record) -> Record:
    """The case without anything that could tell its label."""
    return replace(record, label=None, target=None, boxes=None)


def set_aside(
    split: dict[str, list[str]],
    records: Sequence[Record],
    target: str,
    labelled: float | None,
    aside: Collection[str] = (),
) -> dict[str, list[str]]:
    """The split of labelled cases with the part "unlabelled": training cases whose labels are not looked at, and the cases
    that have none, or are named in `aside`.

    labelled: so many of the training cases keep their labels, or such a share of them (at least one), in an order that is a
    hash of the patient: the 5 are among the 10. Cases without a label of a patient of val or test, or that the data set puts
    there, are left out, which is said. Raises UserError where nothing is unlabelled.
    """
    patients = {record.case_id: record.group for record in records}
    train = by_hash(split["train"], patients)
    count = len(train) if labelled is None else int(labelled) if labelled >= 1 else max(1, round(labelled * len(train)))
    held = {patients[case] for part in ("val", "test") for case in split.get(part, ())}
    without = [record for record in records if record.case_id in aside or not has_label(record, target)]
    mine = [record.case_id for record in without if record.group not in held and record.split in (None, "train")]
    if len(mine) < len(without):
        log.info("%d unlabelled cases are of val and test patients and are left out", len(without) - len(mine))
    rest = sorted({*train[count:], *mine})
    if not rest:
        seen = "all are labelled" if labelled is None else f"{labelled} are labelled"
        what = f"of {len(train)} training cases {seen}, and none is left to learn from without"
        raise UserError(f"dataset.labelled: {what}; give a smaller number or share (0.1), or set learning=null")
    log.info("%d training cases with labels, %d without", min(count, len(train)), len(rest))
    return {**split, "train": sorted(train[:count]), UNLABELLED: rest}


def learnt_with(part: str) -> str:
    """What a part of the split is to the others: whatever is learnt from is "train"."""
    return "train" if part == UNLABELLED else part
