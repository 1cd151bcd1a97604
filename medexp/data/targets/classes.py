"""Classes as targets: one of several, a yes or no, several labels at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from medexp.data.records import Record
from medexp.errors import UserError, nearest


def index(record: Record, classes: Sequence[str]) -> Tensor:
    """int64 (1,): place of the class among `classes`. Raises UserError."""
    return torch.tensor([_one(record, classes)], dtype=torch.int64)


def binary(record: Record, classes: Sequence[str]) -> Tensor:
    """float (1,): 1 for the second class. Raises UserError."""
    found = _one(record, classes)
    if len(classes) != 2:
        raise UserError(
            f"dataset.classes: {len(classes)} names, but a yes-or-no task has 2 (the second is the positive one)"
        )
    return torch.tensor([float(found)])


def multilabel(record: Record, classes: Sequence[str]) -> Tensor:
    """float (K,) of 0 and 1. Raises UserError."""
    values = _given(record)
    if isinstance(values, dict):  # a column a class, of 0 and 1
        values = _marked(record, values)
    if not isinstance(values, list | tuple):
        raise UserError(
            f"case {record.case_id}: target {values!r} is not a list of classes; name what stands between them "
            "(dataset.source.target_separator=';'), give a column of 0 and 1 a class (dataset.source.target=[a,b]), or choose "
            "task=classification"
        )
    hot = torch.zeros(len(classes))
    if len(values) == len(classes) and all(value in (0, 1) for value in values):
        return torch.tensor([float(value) for value in values])
    if all(isinstance(value, int | float) for value in values) and len(set(values)) < len(values):
        raise UserError(
            f"case {record.case_id}: {len(values)} labels, dataset.classes names {len(classes)}; name one for each"
        )
    for value in values:
        hot[_index(record, value, classes)] = 1.0
    return hot


def _marked(record: Record, columns: dict[str, object]) -> list[str]:
    """Names of the columns that hold a 1. Raises UserError for what is neither 0 nor 1."""
    odd = [name for name, cell in columns.items() if str(cell).strip() not in ("0", "1")]
    if odd:
        seen = f"'{columns[odd[0]]}' in column '{odd[0]}'"
        raise UserError(f"case {record.case_id}: {seen} is neither 1 (has it) nor 0; mend the table")
    return [name for name, cell in columns.items() if str(cell).strip() == "1"]


def known(record: Record, classes: Sequence[str]) -> Tensor:
    """int64 (1,): place of the class among `classes`; -1 where a record has none of them, or several."""
    try:
        return index(record, classes)
    except UserError:
        return torch.tensor([-1])


def _given(record: Record) -> object:
    if record.target is None:
        raise UserError(f"case {record.case_id}: has no class; name it in the table or choose another dataset")
    return record.target


def _one(record: Record, classes: Sequence[str]) -> int:
    value = _given(record)
    if isinstance(value, list | tuple):
        seen = f"{len(value)} labels where one class is expected"
        raise UserError(f"case {record.case_id}: {seen}; choose task=classification_multilabel loss=bce")
    return _index(record, value, classes)


def _index(record: Record, value: object, classes: Sequence[str]) -> int:
    """A class name, or a number where the data set numbers its classes (names win)."""
    names = [str(name) for name in classes]
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if str(value) in names:
        return names.index(str(value))
    if isinstance(value, int) and 0 <= value < len(names):
        return value
    hint = nearest(str(value), names)
    raise UserError(
        f"case {record.case_id}: class '{value}' is not in dataset.classes{hint or ';'} classes: {', '.join(names)}"
    )
