"""Learning what is normal: cases with a finding are for the test alone."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from pathlib import Path

from medexp.data.preparation.prepare import Preparation
from medexp.data.records import Record
from medexp.data.splits.make import Split
from medexp.data.splits.presence import present_in
from medexp.data.targets.classes import known
from medexp.errors import UserError
from medexp.targets import KINDS

log = logging.getLogger(__name__)
LEARNT = ("train", "val")


def ill(
    records: Sequence[Record], classes: Sequence[str], target: str, preparation: Preparation, store: Path | None
) -> set[str]:
    """Case ids of those with any class but the first: in their label map, or as their own, which one must be told."""
    if KINDS[target].label_map:
        return {case for case, found in present_in(records, preparation, store).items() if found}
    return {record.case_id for record in records if int(known(record, classes)) != 0}


def healthy_alone(split: Split, findings: Collection[str], first: str) -> Split:
    """The split, less the training and validation cases with findings; the test split has both.

    first: what the healthy are called. Raises UserError where no healthy case is left for a part.
    """
    found = dict(split)
    for part in LEARNT:
        found[part] = [case for case in split[part] if case not in findings]
        if not found[part]:
            raise UserError(
                f"dataset.split: no {part} case is without a finding (all {len(split[part])} have a class beside '{first}', the "
                "first of dataset.classes); add healthy cases, or change dataset.split.test"
            )
        without = len(split[part]) - len(found[part])
        log.info(
            "%s: %d cases with findings are left out, the %d healthy ones are kept", part, without, len(found[part])
        )
    return found
