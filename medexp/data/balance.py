"""How often cases are drawn in training, against class imbalance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from medexp.data.order import class_weights_of
from medexp.data.records import Record
from medexp.data.splits.strata import classes_of, rarest
from medexp.data.store.entries import Kept
from medexp.data.store.pack import classes_present
from medexp.errors import UserError, nearest
from medexp.targets import KINDS

Balance = Literal["class"] | Mapping[str, float] | None


def case_weights(
    balance: Balance,
    cases: Sequence[tuple[dict[str, Any], Kept]],
    records: Sequence[Record],
    classes: Sequence[str],
    target: str,
) -> list[float] | None:
    """One weight a training case; None draws each once an epoch.

    balance: "class" draws every class equally often; {class: share} in these proportions, 1 for classes that it does
    not name. A case of several classes (labels of a label map, boxes, findings of an image) stands for the rarest of them; one
    of none for the first class of a segmentation (background), else for none. Raises UserError for an unknown class.
    """
    if balance is None:
        return None
    if KINDS[target].label_map:
        names = [[classes[value] for value in classes_present(kept.facts)] or [classes[0]] for _, kept in cases]
    elif target == "boxes":
        names = [[box.name for box in record.boxes or ()] for record in records]
    else:
        names = [[_name(value, classes) for value in classes_of(record)] for record in records]
    weights = class_weights_of(names)
    if balance == "class":
        return weights
    unknown = [name for name in balance if name not in classes]
    if unknown:
        raise UserError(
            f"dataset.balance: no class '{unknown[0]}'{nearest(unknown[0], list(classes)) or ';'} "
            f"classes: {', '.join(classes)}"
        )
    if any(share < 0 for share in balance.values()):
        raise UserError(f"dataset.balance: {dict(balance)} has a share below 0")
    return [weight * balance.get(name, 1.0) for weight, name in zip(weights, rarest(names), strict=True)]


def _name(value: str, classes: Sequence[str]) -> str:
    """A class by its name where the data set numbers its classes."""
    return classes[int(value)] if value not in classes and value.isdigit() and int(value) < len(classes) else value
