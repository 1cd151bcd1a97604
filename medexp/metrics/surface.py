"""Surfaces of label maps and the distances between them: one pass over the voxels, then k-d trees on those that count.

A surface is the set of edge voxels of a class: those with a face neighbour of another class, or on the border of the
image. That is `mask & ~binary_erosion(mask)` with a cross, and what MONAI uses; here it is found for all classes at
once from differences between neighbours in the label map. Where an axis has length 1 (a 2D image stored as a volume
of one slice) its two faces do not count, or every voxel would be an edge.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree


def edges(labels: np.ndarray) -> np.ndarray:
    """Mask (*spatial) of the voxels of a label map (*spatial) that lie on the surface of their own class."""
    edge = np.zeros(labels.shape, dtype=bool)
    for axis, length in enumerate(labels.shape):
        if length == 1:
            continue
        along, out = np.moveaxis(labels, axis, 0), np.moveaxis(edge, axis, 0)
        differs = along[1:] != along[:-1]
        out[1:] |= differs
        out[:-1] |= differs
        out[0] = out[-1] = True
    return edge


@dataclass(frozen=True)
class SurfaceDistances:
    """Distances in mm from each edge voxel of one mask to the nearest edge voxel of the other, in both directions."""

    to_target: np.ndarray  # (points on the predicted surface,)
    to_prediction: np.ndarray  # (points on the target surface,)

    def percentile(self, q: float) -> float:
        """Hausdorff distance at percentile `q`: the larger of the two directed percentiles (linear interpolation)."""
        return float(max(np.percentile(self.to_target, q), np.percentile(self.to_prediction, q)))

    def average(self) -> float:
        """Average symmetric surface distance: the mean over the points of both surfaces."""
        both = self.to_target.sum() + self.to_prediction.sum()
        return float(both / (self.to_target.size + self.to_prediction.size))

    def within(self, tolerance: float) -> float:
        """Surface Dice (normalised surface distance): the share of points within `tolerance` mm of the other surface.

        Nikolov et al. 2018, https://arxiv.org/abs/1809.04430; surface as edge voxels, https://arxiv.org/abs/2111.05408.
        A millionth of slack, because a spacing that a header stores as 0.99999994 must not decide a tie.
        """
        limit = tolerance * (1 + 1e-6)
        close = int((self.to_target <= limit).sum()) + int((self.to_prediction <= limit).sum())
        return close / (self.to_target.size + self.to_prediction.size)


def surface_distances(
    prediction: np.ndarray, target: np.ndarray, spacing: tuple[float, ...], labels: list[int]
) -> dict[int, SurfaceDistances]:
    """Distances for each of `labels` that has voxels in both label maps (*spatial); `spacing` in mm."""
    background = 0 in labels
    on_prediction, on_target = edges(prediction), edges(target)
    if not background:  # its surface is as large as all the others together
        on_prediction &= prediction != 0
        on_target &= target != 0
    shared = (on_prediction & on_target & (prediction == target)).ravel()
    surface_prediction = _Surface(on_prediction, prediction, spacing)
    surface_target = _Surface(on_target, target, spacing)
    distances = {}
    for label in labels:
        ours, theirs = surface_prediction.of(label), surface_target.of(label)
        if ours.size and theirs.size:
            distances[label] = SurfaceDistances(
                to_target=_nearest(surface_prediction, ours, surface_target, theirs, shared),
                to_prediction=_nearest(surface_target, theirs, surface_prediction, ours, shared),
            )
    return distances


class _Surface:
    """The edge voxels of a label map: their flat indices, and their points in mm."""

    def __init__(self, edge: np.ndarray, labels: np.ndarray, spacing: tuple[float, ...]) -> None:
        self.shape = labels.shape
        self.spacing = np.asarray(spacing, dtype=np.float64)
        self.voxels = np.flatnonzero(edge)
        self.labels = labels.ravel()[self.voxels]

    def of(self, label: int) -> np.ndarray:
        """Flat voxel indices (points,) of the surface of one class."""
        return self.voxels[self.labels == label]

    def points(self, voxels: np.ndarray) -> np.ndarray:
        """Positions (points, spatial_dims) in mm."""
        return np.stack(np.unravel_index(voxels, self.shape), axis=1) * self.spacing


def _nearest(
    source: _Surface, voxels: np.ndarray, destination: _Surface, others: np.ndarray, shared: np.ndarray
) -> np.ndarray:
    """Distance (points,) in mm of each of `voxels` to the nearest of `others`; 0, unasked, where both surfaces pass."""
    distances = np.zeros(voxels.size)
    apart = ~shared[voxels]
    if apart.any():
        # One batched query a tree: an unbalanced, loose tree is cheaper to build than it is slower to search.
        tree = cKDTree(destination.points(others), leafsize=32, balanced_tree=False, compact_nodes=False)
        distances[apart] = tree.query(source.points(voxels[apart]))[0]
    return distances
