"""The split of a data set: by whatever function was chosen for it, told what it can use."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from medexp.data.preparation.prepare import Preparation
from medexp.data.records import Record
from medexp.data.splits.files import named_unlabelled
from medexp.data.splits.healthy import LEARNT, healthy_alone, ill
from medexp.data.splits.make import Split
from medexp.data.splits.presence import label_strata
from medexp.data.splits.unlabelled import has_label, set_aside
from medexp.targets import KINDS


def draw(
    splitter: Callable[..., Split],
    records: list[Record],
    seed: int,
    target: str,
    classes: Sequence[str],
    preparation: Preparation,
    store: Path | None,
    left_out: Collection[str],
    unlabelled: bool,
    labelled: float | None,
) -> Split:
    """Train, val and test by `splitter(records, seed=...)`; with the part "unlabelled" (see medexp/data/splits/unlabelled.py)
    where something is learnt from cases without a label, and without findings in train and val where it is what is normal
    (see medexp/data/splits/healthy.py). Raises UserError."""
    known = [record for record in records if not unlabelled or has_label(record, target)]
    strata: dict[str, Any] = label_strata(splitter, known, preparation, target, store)
    if "left_out" in inspect.signature(splitter).parameters:
        strata["left_out"] = left_out
    split = splitter(known, seed=seed, **strata)
    if KINDS[target].healthy:
        learnt = {case for part in LEARNT for case in split[part]}
        judged = [record for record in known if record.case_id in learnt]
        return healthy_alone(split, ill(judged, classes, target, preparation, store), classes[0])
    if not unlabelled:
        return split
    options = getattr(splitter, "keywords", {})
    return set_aside(split, records, target, labelled, named_unlabelled(options.get("file"), options.get("fold")))
