"""From what a network says of every voxel to a list of objects: peaks of heat maps, and connected components of masks.

Objects are rows (lower edge of each axis, upper edge of each, score, class), best first; edges in voxels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from monai.data.box_utils import box_iou
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from medexp.boxes import around, extents, middles

Suppress = Literal["overlap", "centre"]
CANDIDATES = 1000  # peaks of an image that are looked at


def peaks(maps: Tensor, axes: int, least: float) -> Tensor:
    """Objects (N, 2 * axes + 2) of maps (K + 2 * axes, *spatial): chances of a centre, sizes, offsets (voxels).

    A peak is a voxel that no neighbour exceeds, of a chance of at least `least`.
    """
    classes = len(maps) - 2 * axes
    chances = maps[:classes]
    pool = functional.max_pool2d if axes == 2 else functional.max_pool3d
    top = pool(chances[None], 3, stride=1, padding=1)[0]
    places = torch.nonzero((chances == top) & (chances >= least))  # (N, 1 + axes)
    scores = chances[tuple(places.T)]
    order = scores.argsort(descending=True, stable=True)[:CANDIDATES]
    places, scores = places[order], scores[order]
    measures = maps[(slice(classes, None), *places.T[1:])].T  # (N, 2 * axes)
    centres = places[:, 1:] + 0.5 + measures[:, axes:]
    return torch.cat([around(centres, measures[:, :axes]), scores[:, None], places[:, :1].to(maps)], dim=1)


def components(chances: Tensor, least: float) -> Tensor:
    """Objects (N, 2 * axes + 2) of chances (K, *spatial), background first: connected voxels (faces touch) of one class
    whose chance is at least `least` and above that of any other foreground class. Score: their mean chance; class: 0 for
    the first class after the background."""
    foreground = chances[1:].detach().float().cpu().numpy()
    best = foreground.argmax(axis=0)
    rows = []
    for kind, map_ in enumerate(foreground):
        marked, count = ndimage.label((best == kind) & (map_ >= least))
        means: Any = np.atleast_1d(ndimage.mean(map_, marked, np.arange(1, count + 1))) if count else []
        for box, score in zip(ndimage.find_objects(marked), means, strict=True):
            rows.append([*(part.start for part in box), *(part.stop for part in box), float(score), float(kind)])
    axes = chances.ndim - 1
    found = torch.tensor(rows, dtype=torch.float32).view(-1, 2 * axes + 2)
    return found[found[:, -2].argsort(descending=True, stable=True)]


def suppressed(objects: Tensor, limit: float, by: Suppress = "overlap", most: int | None = None) -> Tensor:
    """Objects (N, 2 * axes + 2), best first, without those that repeat a better one of their class.

    by "overlap": IoU above `limit` (non-maximum suppression). by "centre": the centre lies in the ellipsoid of `limit` times
    the better one's box: for objects that overlap by nature. most: number of objects that are kept at most.
    """
    boxes, kinds = objects[:, :-2], objects[:, -1]
    if not len(objects):
        return objects
    if by == "overlap":
        repeats = torch.as_tensor(box_iou(boxes.float(), boxes.float())) > limit
    else:
        apart = middles(boxes)[None] - middles(boxes)[:, None]  # (better, other, axes)
        repeats = (2 * apart / extents(boxes)[:, None].clamp(min=1e-6)).square().sum(dim=-1) < limit**2
    again = (repeats & (kinds[:, None] == kinds[None])).cpu().numpy()
    alive = np.ones(len(objects), dtype=bool)
    kept: list[int] = []
    for index in range(len(objects)):
        if alive[index] and (most is None or len(kept) < most):
            kept.append(index)
            alive &= ~again[index]
    return objects[kept]


def padded(found: Sequence[Tensor]) -> Tensor:
    """Objects of several cases as one tensor (B, N, columns), filled up with rows of zeros, whose score is 0."""
    return torch.nn.utils.rnn.pad_sequence(list(found), batch_first=True)
