"""Found objects against true ones: which finds which, average precision, and the free-response operating characteristic.

Objects are rows (lower edge of each axis, upper edge of each, score, class), true ones the same without score; edges in
voxels of one grid.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from monai.data.box_utils import box_iou
from numpy.typing import NDArray

Array = NDArray[np.float64]
RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)  # false positives a scan of LUNA16's score


def overlaps(found: Array, true: Array) -> Array:
    """Intersection over union of boxes (N, 2 * axes) and (M, 2 * axes): (N, M)."""
    if not len(found) or not len(true):
        return np.zeros((len(found), len(true)))
    return np.asarray(box_iou(torch.from_numpy(found).double(), torch.from_numpy(true).double()))


def matched(iou: Array, threshold: float) -> NDArray[np.int64]:
    """For each found box, best first, the true one that it takes, -1 for none: that of the largest overlap, at least the
    threshold, among those that no better one has taken (COCO's rule). iou: (N, M)."""
    taken = np.zeros(iou.shape[1], dtype=bool)
    chosen = np.full(len(iou), -1)
    for index, row in enumerate(iou):
        free = np.where(taken, -1.0, row)
        if len(free) and free.max() >= min(threshold, 1 - 1e-10):
            chosen[index] = len(free) - 1 - int(free[::-1].argmax())  # of equals the last, as COCO takes
            taken[chosen[index]] = True
    return chosen


def average_precision(scores: Array, correct: NDArray[np.bool_], count: int) -> float:
    """Mean over the recalls 0, 0.01, ... 1 of the largest precision at that recall or above (COCO; Lin et al. 2014).

    scores, correct: of all found boxes of all scans. count: true ones, above 0.
    """
    order = np.argsort(-scores, kind="stable")
    right = np.cumsum(correct[order])
    precision = right / np.arange(1, len(right) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(right / count, np.linspace(0, 1, 101), side="left")
    return float(np.append(envelope, 0.0)[at].mean())


def nearby(found: Array, true: Array) -> NDArray[np.bool_]:
    """Whether the centre of a found box lies in the ellipsoid within a true box: (N, M). LUNA16's rule, whose nodules are
    balls: a centre closer than the radius."""
    axes = found.shape[1] // 2
    centres = (found[:, :axes] + found[:, axes:]) / 2
    middles, sizes = (true[:, :axes] + true[:, axes:]) / 2, true[:, axes:] - true[:, :axes]
    apart = 2 * (centres[:, None] - middles[None]) / np.maximum(sizes, 1e-6)[None]
    return np.asarray((apart**2).sum(axis=-1) <= 1)


def first_hits(hits: NDArray[np.bool_]) -> NDArray[np.int64]:
    """For each found box, best first, the true one that it is the first to hit; -1: it hits none (a false positive); -2:
    all that it hits were hit before (neither right nor wrong, as LUNA16 and CAMELYON16 count). hits: (N, M)."""
    taken = np.zeros(hits.shape[1], dtype=bool)
    chosen = np.full(len(hits), -1)
    for index, row in enumerate(hits):
        free = np.flatnonzero(row & ~taken)
        if len(free):
            chosen[index] = free[0]
            taken[free[0]] = True
        elif row.any():
            chosen[index] = -2
    return chosen


def froc(right: Array, wrong: Array, count: int, scans: int) -> tuple[Array, Array, Array]:
    """The curve: false positives a scan (ascending), sensitivity, and the score from which on boxes count, at each point.

    right: score of each true object that was hit; wrong: of each false positive; count: true objects, above 0. The first
    point is of no box at all.
    """
    scores = np.unique(np.concatenate([right, wrong]))[::-1]
    rates = np.searchsorted(np.sort(-wrong), -scores, side="right") / scans
    sensitivity = np.searchsorted(np.sort(-right), -scores, side="right") / count
    return np.append(0.0, rates), np.append(0.0, sensitivity), np.append(np.inf, scores)


def sensitivity_at(rates: Array, sensitivity: Array, wanted: Sequence[float] = RATES) -> list[float]:
    """Sensitivity at so many false positives a scan, between two points of the curve on the line (as the evaluation of
    LUNA16 does); beyond its end that of its end."""
    return [float(value) for value in np.interp(wanted, rates, sensitivity)]
