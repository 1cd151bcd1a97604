"""Training cases whose label maps say less than their files do (`dataset.annotation`), in the place of the prepared ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from medexp.data.cases import Item
from medexp.data.formats.scan import Array
from medexp.data.parallel import attempt
from medexp.data.preparation.prepare import Preparation
from medexp.data.records import Record
from medexp.data.store.entries import Kept
from medexp.data.store.pack import foreground_places
from medexp.errors import Faults
from medexp.targets import IGNORED

Annotate = Callable[[Array, str, str, int], Array]  # of a label map (*spatial), case id, patient and seed


@dataclass(frozen=True)
class Annotated:
    """A kept case with another label map, which lies in memory: a byte a voxel."""

    kept: Kept
    arrays: dict[str, Array]
    facts: dict[str, Any]

    def __contains__(self, name: str) -> bool:
        return name in self.kept

    def shape(self, name: str) -> tuple[int, ...]:
        return self.arrays[name].shape if name in self.arrays else self.kept.shape(name)

    def read(self, name: str, cut: tuple[slice, ...] = ()) -> Array:
        return np.array(self.arrays[name][cut]) if name in self.arrays else self.kept.read(name, cut)


def annotated(
    cases: Mapping[str, list[tuple[Item, Kept]]],
    parts: Mapping[str, Sequence[Record]],
    annotate: Annotate | None,
    classes: int,
    seed: int,
) -> dict[str, list[tuple[Item, Kept]]]:
    """The cases of each part, as they are where there is nothing to make of them.

    Training cases get the label maps that `annotate` makes of theirs; where it is for `all` parts validation cases do as well,
    with IGNORED for what may be several classes. Patches are placed on what these have of the foreground, and classes
    counted in them. Raises Faults.
    """

    if annotate is None:
        return dict(cases)

    def one(pair: tuple[tuple[Item, Kept], Record], exact: bool) -> tuple[Item, Kept]:
        (facts, kept), record = pair
        label = annotate(kept.read("label")[0], record.case_id, record.group, seed)
        known = label < classes
        label = np.where(known, label, np.uint8(IGNORED)) if exact else label
        places, ranges = foreground_places(np.where(known, label, np.uint8(0)))
        voxels = np.bincount(label.ravel(), minlength=classes)[:classes].tolist()
        told = {**kept.facts, "places": ranges, "voxels": voxels}
        return facts, Annotated(kept, {"label": label[None], "places": places}, told)

    found = dict(cases)
    for part in ("train", "val") if getattr(annotate, "all", False) else ("train",):
        pairs = list(zip(cases[part], parts[part], strict=True))
        made, faults = attempt(pairs, partial(one, exact=part == "val"), "annotating cases")
        if faults:
            raise Faults(f"{len(faults)} cases cannot be annotated", faults)
        found[part] = [case for case in made if case is not None]
    return found


def truth(record: Record, preparation: Preparation, annotate: Annotate | None, classes: int, seed: int) -> Array:
    """The label map of a case, as it is evaluated: IGNORED where `annotate` is for `all` parts and leaves open what a voxel is."""
    label = preparation.read_label(record).array
    if annotate is None or not getattr(annotate, "all", False):
        return label
    made = annotate(label, record.case_id, record.group, seed)
    return np.where(made < classes, made, np.uint8(IGNORED))
