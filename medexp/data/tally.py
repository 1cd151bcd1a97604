"""What a data set holds, counted: for class weights and for the log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medexp.data.cases import Item
from medexp.data.records import Record
from medexp.data.store.entries import Kept


def class_counts(cases: Sequence[tuple[Item, Kept]], classes: int, target: str) -> np.ndarray[Any, Any]:
    """Voxels (of label maps) or images a class, shape (K,); binary: (negative, positive)."""
    counts = np.zeros(classes)
    for facts, kept in cases:
        if "voxels" in kept.facts:
            voxels = kept.facts["voxels"][:classes]
            counts[: len(voxels)] += voxels
        elif target == "multilabel":
            counts += facts["target"].numpy()
        else:
            counts[int(facts["target"].item())] += 1
    return counts


def describe(name: str, parts: Mapping[str, Sequence[Record]], target: str, licence: str | None) -> str:
    """One line on a split."""
    sizes = ", ".join(f"{len(records)} {part}" for part, records in parts.items())
    known = any(record.patient_id for records in parts.values() for record in records)
    patients = len({record.group for records in parts.values() for record in records})
    line = f"{name}: {sizes} cases of {patients} patients" + ("" if known else " (patients unknown: each case is one)")
    if target in ("index", "binary"):
        found = Counter(str(record.target) for record in parts["train"])
        line += "; training classes " + ", ".join(f"{name} {count}" for name, count in sorted(found.items()))
    return f"{line}; licence {licence}" if licence else line
