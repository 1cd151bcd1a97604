"""What tasks learn from, by the name that a config gives (`task.target`): the facts that every floor needs of each kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

IGNORED = 255  # in a label map: what was not annotated, which is in no loss and in no metric


@dataclass(frozen=True)
class Kind:
    """One way to learn.

    provides: what a data set must provide for it (`dataset.provides`); "": nothing but images. encoded: whether a
    record's target becomes a tensor `target` of the batch (see medexp/data/targets); else the label map is all.
    label_map: whether label maps are read.
    of_classes: whether it is one of `dataset.classes`, which can then be counted, weighted and stratified.
    dense: whether the network gives a value a voxel, or one an image; None: neither.
    healthy: whether what is normal is learnt: cases of any class but the first are for the test alone.
    outputs: number of outputs of the network for so many classes; None: the task's own business.
    """

    provides: str
    encoded: bool = True
    label_map: bool = False
    of_classes: bool = True
    dense: bool | None = False
    healthy: bool = False
    outputs: Callable[[int], int] | None = None


KINDS: dict[str, Kind] = {
    "mask": Kind("mask", encoded=False, label_map=True, dense=True, outputs=lambda count: count),
    "index": Kind("class", outputs=lambda count: count),
    "binary": Kind("class", outputs=lambda count: 1),
    "multilabel": Kind("class", outputs=lambda count: count),
    "next_value": Kind("value_per_frame", of_classes=False),
    "next_frame": Kind("sequence", encoded=False, of_classes=False, dense=None),
    "boxes": Kind("boxes", dense=True),
    "instances": Kind("mask", encoded=False, label_map=True, dense=True, outputs=lambda count: count),
    "image": Kind("", encoded=False, of_classes=False, dense=True),
    "generation": Kind("", encoded=False, of_classes=False, dense=None),
    "generation_by_class": Kind("class", dense=None),
    "views": Kind("", of_classes=False, dense=None),
    "reconstruction": Kind("", encoded=False, of_classes=False, dense=None),
    "anomaly": Kind("mask", encoded=False, label_map=True, of_classes=False, dense=None, healthy=True),
    "anomaly_by_class": Kind("class", of_classes=False, dense=None, healthy=True),
    "survival": Kind("survival", of_classes=False),
    "value": Kind("value", of_classes=False),
    "ordinal": Kind("class", outputs=lambda count: count - 1),
    "multitask": Kind("mask", label_map=True, of_classes=False, dense=None, outputs=lambda count: count),
}


def unit(entry: Any) -> str | None:
    """Unit of an entry of `dataset.targets`, "" for a count; None where it is a list of classes."""
    return None if isinstance(entry, list | tuple) else "ml" if isinstance(entry, Mapping) else str(entry or "")


def width(entry: Any) -> int:
    """Outputs of a network for an entry of `dataset.targets`: 1 for a value or a yes-or-no, else one a class."""
    return len(entry) if unit(entry) is None and len(entry) > 2 else 1


def has_classes(provides: Any, classes: Any) -> bool:
    """Whether a data set (`dataset.provides`, `dataset.classes`) says of images which of several classes they are."""
    return "class" in (provides if isinstance(provides, list | tuple) else [provides]) and len(classes or ()) > 1
