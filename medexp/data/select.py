"""Which of the cases that a source lists are used: what is left out is said."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

from medexp.data.records import Record
from medexp.data.splits.files import excluded, without
from medexp.errors import Faults, UserError

log = logging.getLogger(__name__)


def selected(found: list[Record], root: Path, exclude: str | None, missing: str) -> list[Record]:
    """Cases less those named in the file `exclude` and, where `missing` is "drop", those that lack a modality.

    Raises UserError where there are none, Faults where ids stand twice or, under "error", modalities are lacking.
    """
    if not found:
        raise UserError(f"dataset.root: no cases in {root}; set dataset.root=PATH or another dataset")
    twice = [case for case, count in Counter(record.case_id for record in found).items() if count > 1]
    if twice:
        raise Faults(f"{len(twice)} case ids stand twice in {root}", sorted(twice))
    if exclude is not None:
        ids = excluded(Path(exclude))
        found = without(found, ids)
        log.info("%d cases are left out, as %s says", len(ids), exclude)
    lacking = [record for record in found if record.missing]
    if lacking and missing == "error":
        listed = [f"case {r.case_id}: has no image for channel {', '.join(map(str, r.missing))}" for r in lacking]
        headline = f"{len(lacking)} of {len(found)} cases lack a modality; set dataset.missing=zero or drop"
        raise Faults(headline, listed)
    if lacking and missing == "drop":
        log.info("%d of %d cases lack a modality and are left out (dataset.missing=drop)", len(lacking), len(found))
        found = [record for record in found if not record.missing]
        if not found:
            raise UserError(f"dataset.missing: drop leaves no case of {root}; set dataset.missing=zero")
    return found
