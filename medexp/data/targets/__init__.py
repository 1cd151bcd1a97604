"""How a record's target becomes the tensor `target` of a batch, by the kind of target (medexp/targets.py)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from medexp.data.records import Record
from medexp.data.targets import boxes, classes, series, survival, values

Encode = Callable[[Record, Sequence[str]], Tensor]  # of a record and dataset.classes; raises UserError

ENCODERS: dict[str, Encode] = {
    "index": classes.index,
    "binary": classes.binary,
    "multilabel": classes.multilabel,
    "next_value": series.values,
    "boxes": boxes.boxes,
    "views": classes.known,
    "survival": survival.survival,
    "value": values.values,
    "ordinal": classes.index,
    "multitask": values.values,
    "generation_by_class": classes.index,
    "anomaly_by_class": classes.index,
}


def encode(record: Record, names: Sequence[str], target: str) -> Tensor:
    """The target of a record for a task of this kind. Raises UserError."""
    return ENCODERS[target](record, names)
