"""Objects as targets: their bounding boxes and classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from medexp.data.records import Record
from medexp.errors import UserError, nearest


def boxes(record: Record, classes: Sequence[str]) -> Tensor:
    """float (N, 2 * axes + 1): first voxel edge along each axis, last one along each, place of the class among `classes`;
    edges in voxels of the image as its file holds it. (0, 0) where a case has no object. Raises UserError."""
    if record.boxes is None:
        raise UserError(f"case {record.case_id}: has no boxes; choose a dataset with boxes, or leave it out")
    names = [str(name) for name in classes]
    rows = []
    for box in record.boxes:
        if box.name not in names:
            hint = nearest(box.name, names) or ";"
            raise UserError(
                f"case {record.case_id}: box '{box.name}' is not in dataset.classes{hint} classes: {', '.join(names)}"
            )
        rows.append([*box.lower, *box.upper, float(names.index(box.name))])
    return torch.tensor(rows, dtype=torch.float32) if rows else torch.zeros(0, 0)
