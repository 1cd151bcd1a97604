"""Measures by name: what `dataset.targets` says of the numbers, and classes, that a case has to learn from.

An entry is a name and a unit ("ml", "" for a count); a name and a list of classes, of which a case has one (multi-task); or
a name and `{volume: [class, ...]}`: the volume in ml of these classes in the label map, which is read for that alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from medexp.data.images import header
from medexp.data.parallel import attempt
from medexp.data.preparation.prepare import Preparation
from medexp.data.records import Record
from medexp.data.splits.presence import read_by
from medexp.data.store.content import Contents, digest_of
from medexp.errors import Faults, UserError, nearest

VOLUME = "volume"
ML = 1000.0  # mm^3


def valued(
    records: Sequence[Record],
    targets: Mapping[str, Any],
    classes: Sequence[str],
    preparation: Preparation,
    store: Path | None,
) -> list[Record]:
    """Records whose `target` is {name: number} of `targets`, in their order; of a case that has nothing it stays None.

    Without targets records stay as they are. A source gives {column: value}, a list in the order of `targets`, or a single
    value. Of a list of classes the value is the place of the case's own. store: where volumes are remembered. Raises
    UserError, and Faults with every label map that cannot be read.
    """
    if not targets:
        return list(records)
    measured = {name: _indices(name, entry, classes) for name, entry in targets.items() if isinstance(entry, Mapping)}
    if measured and preparation.spatial_dims != 3:
        raise UserError(f"dataset.targets.{next(iter(measured))}: pictures have no volume; give a unit and a column")
    given = [name for name in targets if name not in measured]
    contents = Contents(store) if measured and store is not None else None

    def one(record: Record) -> Record:
        found = named(record, given)
        if measured and record.label is not None:
            each = volumes(record, preparation, contents)
            found |= {name: sum(each.get(index, 0.0) for index in indices) for name, indices in measured.items()}
        if not found:
            return replace(record, target=None)
        return replace(record, target={name: _place(found.get(name), entry) for name, entry in targets.items()})

    made, faults = attempt(list(records), one, "reading label maps") if measured else ([one(r) for r in records], [])
    if contents is not None:
        contents.save()
    if faults:
        raise Faults(f"{len(faults)} label maps cannot be measured", faults)
    return [record for record in made if record is not None]


def named(record: Record, names: Sequence[str]) -> dict[str, Any]:
    """The target of a record by name; {} where it has none. Raises UserError for what cannot be told apart."""
    target = record.target
    if target is None or not names:
        return {}
    if isinstance(target, Mapping):
        unknown = [name for name in names if name not in target]
        if unknown:
            known = [str(name) for name in target]
            hint = nearest(unknown[0], known) or ";"
            raise UserError(f"dataset.targets.{unknown[0]}: no such target{hint} the source gives: {', '.join(known)}")
        return {name: target[name] for name in names}
    several = list(target) if isinstance(target, list | tuple) else [target]
    if len(several) != len(names):
        raise UserError(
            f"case {record.case_id}: {len(several)} values for {len(names)} targets ({', '.join(names)}); name as many "
            "columns in dataset.source.target"
        )
    return dict(zip(names, several, strict=True))


def volumes(record: Record, preparation: Preparation, contents: Contents | None) -> dict[int, float]:
    """ml of each foreground class in the label map of a case, on the grid of its image. Raises UserError."""
    assert record.label is not None
    head = header(record)
    voxel = abs(float(np.linalg.det(head.affine[:3, :3]))) / ML
    key = None
    if contents is not None and record.label.exists():
        region = contents.digest(record.region) if record.region is not None and record.region.exists() else None
        part = json.dumps([record.member, record.time, preparation.label_values, region])
        key = digest_of("volumes", read_by(), contents.digest(record.label), part)
        if (known := contents.note(key)) is not None:
            return {int(value): count * voxel for value, count in json.loads(known).items()}
    label = preparation.read_label(record).array
    if label.shape != tuple(head.shape[:3]):
        seen = f"label shape {label.shape} differs from image shape {tuple(head.shape[:3])}"
        raise UserError(f"case {record.case_id}: {record.label}: {seen}; resample one onto the other")
    values, counts = np.unique(label, return_counts=True)
    tally = {int(value): int(count) for value, count in zip(values, counts, strict=True) if value > 0}
    if contents is not None and key is not None:
        contents.write_note(key, json.dumps(tally))
    return {value: count * voxel for value, count in tally.items()}


def _indices(name: str, entry: Mapping[str, Any], classes: Sequence[str]) -> list[int]:
    """Label values of the classes whose volume is asked. Raises UserError."""
    key = f"dataset.targets.{name}"
    wanted = entry.get(VOLUME)
    if set(entry) != {VOLUME} or not isinstance(wanted, list | tuple) or not wanted:
        raise UserError(f"{key}: {dict(entry)}: a unit, a list of classes, or {{{VOLUME}: [class, ...]}} is needed")
    known = [str(one) for one in classes]
    for one in wanted:
        if str(one) not in known:
            raise UserError(f"{key}: no class '{one}'{nearest(str(one), known) or ';'} classes: {', '.join(known)}")
    return [known.index(str(one)) for one in wanted]


def _place(value: Any, entry: Any) -> Any:
    """The index of a class among those of its entry; what is none, and every other value, stays as it is."""
    names = [str(name) for name in entry] if isinstance(entry, list | tuple) else []
    if str(value) in names:
        return names.index(str(value))
    return value
