"""The split of a data set: by whatever function was chosen for it, told what it can use."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from medexp.data.preparation.prepare import Preparation
from medexp.data.records import Record
from medexp.data.splits.files import named_unlabelled
from medexp.data.splits.make import Split
from medexp.data.splits.presence import label_strata
from medexp.data.splits.unlabelled import has_label, set_aside


def draw(
    splitter: Callable[..., Split],
    records: list[Record],
    seed: int,
    target: str,
    preparation: Preparation,
    store: Path | None,
    left_out: Collection[str],
    unlabelled: bool,
    labelled: float | None,
) -> Split:
    """Train, val and test by `splitter(records, seed=...)`; with the part "unlabelled" (see medexp/data/splits/unlabelled.py)
    where something is learnt from cases without a label. Raises UserError."""
    known = [record for record in records if not unlabelled or has_label(record, target)]
    strata: dict[str, Any] = label_strata(splitter, known, preparation, target, store)
    if "left_out" in inspect.signature(splitter).parameters:
        strata["left_out"] = left_out
    split = splitter(known, seed=seed, **strata)
    if not unlabelled:
        return split
    options = getattr(splitter, "keywords", {})
    return set_aside(split, records, target, labelled, named_unlabelled(options.get("file"), options.get("fold")))
