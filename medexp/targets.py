"""What tasks learn from, by the name that a config gives (`task.target`): the facts that every floor needs of each kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """One way to learn.

    provides: what a data set must provide for it (`dataset.provides`). encoded: whether a record's target becomes a tensor
    `target` of the batch (see medexp/data/targets); else the label map is all. label_map: whether label maps are read.
    of_classes: whether it is one of `dataset.classes`, which can then be counted, weighted and stratified.
    dense: whether the network gives a value a voxel, or one an image; None: neither.
    outputs: number of outputs of the network for so many classes; None: the task's own business.
    """

    provides: str
    encoded: bool = True
    label_map: bool = False
    of_classes: bool = True
    dense: bool | None = False
    outputs: Callable[[int], int] | None = None


KINDS: dict[str, Kind] = {
    "mask": Kind("mask", encoded=False, label_map=True, dense=True, outputs=lambda count: count),
    "index": Kind("class", outputs=lambda count: count),
    "binary": Kind("class", outputs=lambda count: 1),
    "multilabel": Kind("class", outputs=lambda count: count),
}
