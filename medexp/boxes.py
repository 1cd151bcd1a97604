"""Boxes moved with their image. A box is (first edge of each axis, last edge of each axis) in voxels: voxel i lies between
the edges i and i + 1, so that a box of one voxel is (i, i + 1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


def middles(boxes: Tensor) -> Tensor:
    """Centres (..., axes) of boxes (..., 2 * axes)."""
    lower, upper = boxes.chunk(2, dim=-1)
    return (lower + upper) / 2


def extents(boxes: Tensor) -> Tensor:
    """Sizes (..., axes) of boxes (..., 2 * axes)."""
    lower, upper = boxes.chunk(2, dim=-1)
    return upper - lower


def around(centres: Tensor, sizes: Tensor) -> Tensor:
    """Boxes (..., 2 * axes) of these centres and sizes (..., axes)."""
    return torch.cat([centres - sizes / 2, centres + sizes / 2], dim=-1)


def inside(boxes: Tensor, shape: Sequence[int]) -> Tensor:
    """Which of the boxes (N, 2 * axes) have their centre in an image of this shape: boolean (N,)."""
    centres = middles(boxes)
    return ((centres >= 0) & (centres < centres.new_tensor(list(shape)))).all(dim=-1)


def affine(boxes: Tensor, linear: Tensor, shift: Tensor) -> Tensor:
    """Boxes (N, 2 * axes) of what a map `linear @ edge + shift` makes of the objects in them.

    An object is taken for the ellipsoid within its box, as lesions and cells are round: the box around that one turned is
    tight, sqrt(sum_j (linear_ij * half_j)^2) to either side, while the box around the turned box would grow with each
    angle. Where the map keeps the axes (flip, turn by 90 degrees, scale) both are the same.
    """
    centres, halves = middles(boxes), extents(boxes) / 2
    moved = centres @ linear.T + shift
    reach = torch.sqrt((halves[:, None, :] * linear[None]).square().sum(dim=-1))  # (N, axes)
    return torch.cat([moved - reach, moved + reach], dim=-1)


def flipped(boxes: Tensor, shape: Sequence[int], axis: int) -> Tensor:
    """Boxes of an image that is mirrored along an axis."""
    linear, shift = torch.eye(len(shape)).to(boxes), torch.zeros(len(shape)).to(boxes)
    linear[axis, axis], shift[axis] = -1, shape[axis]
    return affine(boxes, linear, shift)


def turned(boxes: Tensor, shape: Sequence[int], times: int, plane: Sequence[int]) -> Tensor:
    """Boxes of an image that torch.rot90 turned so many times in a plane whose axes have one size."""
    first, second = plane
    for _ in range(times):
        linear, shift = torch.eye(len(shape)).to(boxes), torch.zeros(len(shape)).to(boxes)
        linear[[first, second]] = linear[[second, first]]  # rot90: new[i, j] = old[j, last - i]
        linear[first] *= -1
        shift[first] = shape[first]
        boxes = affine(boxes, linear, shift)
    return boxes


def still_there(item: Mapping[str, Any]) -> dict[str, Any]:
    """An item of which `boxes` (N, 2 * axes) and `box_classes` (N,; below 0: padding of a batch) are left out whose centre
    is not in its image (C, *spatial). Items without boxes are as they were."""
    if "boxes" not in item:
        return dict(item)
    kept = inside(item["boxes"], item["image"].shape[1:]) & (item["box_classes"] >= 0)
    return {**item, "boxes": item["boxes"][kept], "box_classes": item["box_classes"][kept]}
