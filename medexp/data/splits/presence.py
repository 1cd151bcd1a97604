"""Which labels are in a case's label map, for splits that put rare ones into every part. Label files are read, no images."""

from __future__ import annotations

import inspect
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from medexp.data.parallel import attempt
from medexp.data.preparation.identity import code_version
from medexp.data.preparation.prepare import Preparation
from medexp.data.records import Record
from medexp.data.store.content import Contents, digest_of
from medexp.targets import IGNORED, KINDS


def label_strata(
    splitter: Callable[..., Any],
    records: Sequence[Record],
    preparation: Preparation,
    target: str,
    store: Path | None,
) -> dict[str, Any]:
    """{"strata": {case_id: its rarest label}} for a splitter that stratifies label maps; {} for any other.

    A case that cannot be read has no stratum: reading it for training says why. What was read once is remembered.
    """
    options = getattr(splitter, "keywords", {})
    wanted = "strata" in inspect.signature(splitter).parameters and options.get("stratify", True)
    given = options.get("file") or any(record.split for record in records)
    if not KINDS[target].label_map or given or not wanted:
        return {}
    found = present_in(records, preparation, store)
    tally = Counter(
        value for values in {_volume(r): found.get(r.case_id, []) for r in records}.values() for value in values
    )
    rarest = {case: min(values, key=lambda value: (tally[value], value)) for case, values in found.items() if values}
    return {"strata": {case: str(value) for case, value in rarest.items()}}


def present_in(records: Sequence[Record], preparation: Preparation, store: Path | None) -> dict[str, list[int]]:
    """Foreground classes in the label map of each case that has one, by case id; of slices, in the whole volume. A label map that
    cannot be read is left out: reading it for training says why."""
    contents = None if store is None else Contents(store)
    volumes = {_volume(record): record for record in records if record.label is not None}
    found, _ = attempt(
        list(volumes.values()), lambda record: labels_of(record, preparation, contents), "reading labels"
    )
    if contents is not None:
        contents.save()
    present = dict(zip(volumes, found, strict=True))
    return {r.case_id: values for r in records if (values := present.get(_volume(r))) is not None}


def labels_of(record: Record, preparation: Preparation, contents: Contents | None) -> list[int]:
    """Foreground classes in the label map of a case; of a slice, in its whole volume. Raises UserError."""
    whole = replace(record, slice=None, window=None)
    reading = (
        replace(preparation, spatial_dims=3, spacing=None, image_size=None) if record.slice is not None else preparation
    )
    key = None
    if contents is not None and record.label is not None and record.label.exists():
        region = contents.digest(record.region) if record.region is not None and record.region.exists() else None
        unknown = [] if reading.ignore is None else [reading.ignore]
        part = json.dumps([record.member, record.time, reading.label_values, region, *unknown])
        key = digest_of("labels", read_by(), contents.digest(record.label), part)
        if (known := contents.note(key)) is not None:
            return list(json.loads(known))
    label = reading.read_label(whole)
    values = [int(value) for value in np.unique(label.array) if value > 0 and not (label.ignored and value == IGNORED)]
    if contents is not None and key is not None:
        contents.write_note(key, json.dumps(values))
    return values


@cache
def read_by() -> str:
    """Version of all code that reads a label map: what another version has noted is not asked for again."""
    rooms = ("images", "records", "formats", "preparation.prepare", "splits.presence")
    return code_version(*(f"medexp.data.{room}" for room in rooms))


def _volume(record: Record) -> tuple[Any, ...]:
    return record.label, record.member, record.time
