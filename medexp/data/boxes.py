"""The boxes of a case on its prepared grid, in a patch of it, and back on the source grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medexp.boxes import affine, inside
from medexp.data.formats.scan import Array
from medexp.data.store.entries import Kept

Item = dict[str, Any]
BOXES = ("boxes", "box_classes")  # keys of a batch: (B, N, 2 * axes), (B, N)
PADDING = -1.0  # of cases with fewer objects than others of the batch


def carried(boxes: Tensor, start: Array, end: Array) -> Tensor:
    """Boxes (N, 2 * axes) on the grid of affine `start` as boxes on the grid of affine `end` (both (4, 4), mm); float32.

    Edges lie half a voxel beside voxel centres, of which affines speak.
    """
    axes = boxes.shape[-1] // 2
    between = np.linalg.solve(end, start)
    linear = between[:axes, :axes]
    shift = between[:axes, 3] - linear @ np.full(axes, 0.5) + 0.5
    return affine(boxes.double(), torch.from_numpy(linear), torch.from_numpy(shift)).float()


def placed(facts: Item, kept: Kept, target: str) -> Item:
    """Facts of a case as they go into a batch. Of target "boxes" (N, 2 * axes + 1; see data/targets/boxes.py) on the
    source grid become `boxes` (N, 2 * axes) and `box_classes` (N,) on the prepared one; objects whose centre was cropped
    away are not among them. Those of any other target are as they were."""
    if target != "boxes" or "target" not in facts:
        return facts
    rows, shape = facts["target"], kept.shape("image")[1:]
    rest = {key: value for key, value in facts.items() if key != "target"}
    if not len(rows):
        return {**rest, "boxes": torch.zeros(0, 2 * len(shape)), "box_classes": torch.zeros(0)}
    boxes = carried(rows[:, :-1], np.asarray(kept.facts["source"]["affine"]), np.asarray(kept.facts["affine"]))
    there = inside(boxes, shape)
    return {**rest, "boxes": boxes[there], "box_classes": rows[there, -1]}


def in_patch(facts: Item, corner: Sequence[int], size: Sequence[int], shape: Sequence[int]) -> Item:
    """`boxes` and `box_classes` of a patch: those whose centre lies in it, whole even where they reach beyond.

    corner, size: of the patch. shape: *spatial of the image; axes shorter than the patch are padded evenly.
    """
    before = [max(want - have, 0) // 2 for want, have in zip(size, shape, strict=True)]
    shift = torch.tensor([float(pad - start) for pad, start in zip(before, corner, strict=True)])
    boxes = facts["boxes"] + shift.repeat(2)
    kept = inside(boxes, size)
    return {"boxes": boxes[kept], "box_classes": facts["box_classes"][kept]}


def an_object(facts: Item, rng: np.random.Generator) -> list[int]:
    """The central voxel of a random object of a case that has one, each class as often as the others."""
    classes = facts["box_classes"]
    among = classes.unique()
    of_class = torch.nonzero(classes == among[int(rng.integers(len(among)))]).flatten()
    box = facts["boxes"][of_class[int(rng.integers(len(of_class)))]]
    lower, upper = box.chunk(2)
    return [int(value) for value in ((lower + upper) / 2).floor().tolist()]
