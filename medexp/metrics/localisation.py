"""Scores of maps that say where in an image a class is seen, against masks of it, beside maps that know nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import ndimage

from medexp.errors import UserError
from medexp.metrics.boxes import matched, overlaps
from medexp.metrics.table import BLANK, Row, describe, mean, number

Array = np.ndarray[Any, Any]
INSTANCES = ("instance_auroc", "instance_pointing")  # of networks of bags
THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 20))
RESAMPLES = 2000
SMOOTH = 1 / 16  # standard deviation of random maps, share of each axis: as coarse as maps of networks are


class LocalisationScores:
    """Scores maps (*spatial) from 0 to 1 against boolean masks of one shape that are not empty.

    - `pointing`: whether the map's largest value lies in the mask (pointing game, Zhang 2016, arXiv:1608.00507); of several
      places of that value the share that does;
    - `average_precision`: of voxels, ranked by the map, within a case (PxAP of Choe 2020, arXiv:2007.04178, a case at a time):
      a uniform map has the mask's share of the image;
    - `iou`: of the map at a threshold with the mask;
    - `box_recall_30`: share of the mask's objects (connected voxels) whose box a box of the map at that threshold overlaps by
      an IoU of 0.3 at least, each of them once; so for each of box_overlaps. `boxes`: boxes of the map.
    """

    def __init__(self, box_overlaps: Sequence[float] = (0.1, 0.3)) -> None:
        self.box_overlaps = tuple(box_overlaps)

    @property
    def names(self) -> list[str]:
        """Of the scores, in the order of their columns."""
        return ["pointing", "average_precision", "iou", *map(recall_name, self.box_overlaps), "boxes"]

    def case(self, values: Array, truth: Array, threshold: float) -> Row:
        """One row. Raises UserError for shapes that differ and for an empty mask."""
        if values.shape != truth.shape or not truth.any():
            raise UserError(
                f"map {values.shape} and mask {truth.shape} with {int(truth.sum())} voxels: nothing to score"
            )
        top = values == values.max()
        row: Row = {
            "pointing": float(truth[top].mean()),
            "average_precision": average_precision(values, truth),
            "iou": iou(values >= threshold, truth),
        }
        found, true = boxes(values >= threshold), boxes(truth)
        shared = overlaps(found, true)
        for least in self.box_overlaps:
            row[recall_name(least)] = float((matched(shared, least) >= 0).sum() / len(true))
        return row | {"boxes": len(found)}

    def summarize(self, rows: Sequence[Row], suffix: str = "") -> dict[str, Any]:
        """Mean, standard deviation and counts of each score, of the columns with this suffix."""
        names = [name for name in (*self.names, *INSTANCES) if any(f"{name}{suffix}" in row for row in rows)]
        absent = "all or none of the instances of every case hold the class"
        return {name: describe((row.get(f"{name}{suffix}") for row in rows), absent) for name in names}


def instance_scores(weights: Array, held: Array) -> Row:
    """Of the instances of a bag (N,): `instance_auroc`, the chance that one that holds the class has a larger weight than one that
    does not (ties: one half), and `instance_pointing`, whether the one with the largest weight does. Blank where all or none do."""
    if held.all() or not held.any():
        return {"instance_auroc": BLANK, "instance_pointing": BLANK}
    gaps = weights[held][:, None] - weights[~held][None]
    return {
        "instance_auroc": float(((gaps > 0) + 0.5 * (gaps == 0)).mean()),
        "instance_pointing": float(held[weights == weights.max()].mean()),
    }


def recall_name(overlap: float) -> str:
    return f"box_recall_{round(100 * overlap)}"


def average_precision(values: Array, truth: Array) -> float:
    """Of voxels ranked by `values`; voxels of one value count together, so that the order of none matters."""
    order = np.argsort(-values, axis=None, kind="stable")
    ranked, right = values.ravel()[order], np.cumsum(truth.ravel()[order])
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))  # of each value
    precision, recall = right[last] / (last + 1), right[last] / right[-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def iou(mask: Array, truth: Array) -> float:
    union = int((mask | truth).sum())
    return int((mask & truth).sum()) / union if union else 0.0


def boxes(mask: Array) -> Array:
    """Boxes (N, 2 * axes) of the connected voxels of a mask."""
    found = [
        [*(part.start for part in box), *(part.stop for part in box)]
        for box in ndimage.find_objects(ndimage.label(mask)[0])
    ]
    return np.asarray(found, np.float64).reshape(-1, 2 * mask.ndim)


def best_threshold(cases: Sequence[tuple[Array, Array]]) -> float:
    """Of THRESHOLDS the one at which maps have the largest mean IoU with their masks."""
    means = [mean(iou(values >= threshold, truth) for values, truth in cases) or 0.0 for threshold in THRESHOLDS]
    return THRESHOLDS[int(np.argmax(means))]


def centre(shape: Sequence[int], seed: int) -> Array:
    """1 at the centre of the image, 0 at its corners."""
    axes = [np.linspace(-1, 1, size) if size > 1 else np.zeros(1) for size in shape]
    apart = np.sqrt(sum(axis**2 for axis in np.meshgrid(*axes, indexing="ij")))
    return np.asarray(1 - apart / max(float(apart.max()), 1.0))


def random(shape: Sequence[int], seed: int) -> Array:
    """Smooth noise, whose largest value is at a random place."""
    noise = np.random.default_rng(seed).standard_normal(shape)
    smooth = ndimage.gaussian_filter(noise, [SMOOTH * size for size in shape], mode="wrap")
    low, high = float(smooth.min()), float(smooth.max())
    return np.asarray((smooth - low) / (high - low) if high > low else np.zeros(shape))


def uniform(shape: Sequence[int], seed: int) -> Array:
    """The whole image."""
    return np.ones(shape)


CHANCE: dict[str, Callable[[Sequence[int], int], Array]] = {"centre": centre, "random": random, "uniform": uniform}


def compared(rows: Sequence[Row], names: Sequence[str], others: Sequence[str], seed: int) -> dict[str, Any]:
    """{other: {score: {mean, low, high}}}: by how much the score is above that of the other, `<score>_<other>`, a case at a time,
    with the 95 % interval of RESAMPLES bootstrap samples of the cases (Efron 1979). Of `names` and, where rows have them, of
    INSTANCES; cases in which one of the two is blank are left out."""
    found: dict[str, Any] = {}
    for other in others:
        for name in (*names, *INSTANCES):
            pairs = [(number(row.get(name)), number(row.get(f"{name}_{other}"))) for row in rows]
            gaps = np.array([one - two for one, two in pairs if one is not None and two is not None])
            if not len(gaps):
                continue
            drawn = np.random.default_rng(seed).integers(
                0, len(gaps), (RESAMPLES, len(gaps))
            )  # the same for all columns
            low, high = np.percentile(gaps[drawn].mean(axis=1), (2.5, 97.5))
            entry = {"mean": float(gaps.mean()), "low": float(low), "high": float(high)}
            found.setdefault(other, {})[name] = entry
    return found
