"""Where the classes of a case really are: its label map or its boxes, which the classifier was not trained with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from medexp.data.module import DataModule
from medexp.data.records import Record
from medexp.errors import UserError, nearest

Array = np.ndarray[Any, Any]


def has_truth(record: Record) -> bool:
    return record.label is not None or record.boxes is not None


def asked(data: DataModule, record: Record, kinds: Sequence[int]) -> int:
    """How many of these classes `masks` has a mask of, without making them. Raises UserError as it does."""
    if record.label is None:
        return len({box.name for box in record.boxes or ()} & {str(data.classes[kind]) for kind in kinds})
    return sum(kind in kinds for kind in masks(data, record))


def masks(data: DataModule, record: Record) -> dict[int, Array]:
    """Of each class that the case has somewhere (its place in `dataset.classes`) a boolean mask on the source grid.

    A label map holds class indices, or what `dataset.label_values` says; its first class is the background. Raises UserError
    for a label map or a box of no class.
    """
    if record.label is None:
        return _of_boxes(data, record)
    label = data.preparation.read_label(record).array
    found, names = [int(value) for value in np.unique(label)], data.classes
    if found[-1] >= len(names):
        seen = f"label value {found[-1]} stands for none of dataset.classes ({', '.join(names)})"
        raise UserError(
            f"case {record.case_id}: {record.label}: {seen}; give dataset.label_values a list for each class"
        )
    return {value: label == value for value in found if value > 0}


def _of_boxes(data: DataModule, record: Record) -> dict[int, Array]:
    from medexp.data.images import read_image

    image = read_image(record, spatial_dims=data.preparation.spatial_dims, channels=data.preparation.file_channels)
    shape, made = image.array.shape[1:], dict[int, Array]()
    for box in record.boxes or ():
        if box.name not in data.classes:
            hint = nearest(box.name, data.classes) or ";"
            raise UserError(f"case {record.case_id}: box '{box.name}'{hint} classes: {', '.join(data.classes)}")
        mask = made.setdefault(data.classes.index(box.name), np.zeros(shape, bool))
        mask[tuple(slice(int(a), int(np.ceil(b))) for a, b in zip(box.lower, box.upper, strict=True))] = True
    return {kind: mask for kind, mask in made.items() if mask.any()}
