"""Surfaces of label maps and the distances between them, in mm."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree


class Surface:
    """Surface voxels of every class of a label map (*spatial), found in one pass.

    A voxel is on its class's surface where a face neighbour has another class or lies outside: the same set as
    `mask & ~binary_erosion(mask)` class by class.
    spacing: mm along each axis.
    """

    def __init__(self, labels: np.ndarray, spacing: np.ndarray) -> None:
        edge = np.zeros(labels.shape, dtype=bool)
        for axis in range(labels.ndim):
            along, value = np.moveaxis(edge, axis, 0), np.moveaxis(labels, axis, 0)
            change = value[1:] != value[:-1]
            along[1:] |= change
            along[:-1] |= change
            along[:1] = along[-1:] = True
        self._index = np.flatnonzero(edge)
        self._label = labels.reshape(-1)[self._index]
        self._shape, self._spacing = labels.shape, spacing

    def voxels(self, label: int) -> np.ndarray:
        """Flat indices of the class's surface voxels, ascending."""
        return self._index[self._label == label]

    def points(self, voxels: np.ndarray) -> np.ndarray:
        """Positions (n, axes) of voxels in mm from the first voxel."""
        return np.stack(np.unravel_index(voxels, self._shape), axis=1) * self._spacing


def distances(first: Surface, second: Surface, label: int) -> tuple[np.ndarray, np.ndarray]:
    """Distance in mm from each surface voxel of `first` to the nearest of `second`, and the other way round.

    Both surfaces come from maps of one shape and hold the class.
    """
    ours, theirs = first.voxels(label), second.voxels(label)
    return _nearest(first, ours, theirs), _nearest(first, theirs, ours)


def _nearest(grid: Surface, voxels: np.ndarray, others: np.ndarray) -> np.ndarray:
    # Voxels that both surfaces share are at distance 0: only the rest is looked up.
    result = np.zeros(len(voxels))
    apart = ~np.isin(voxels, others, assume_unique=True)
    if apart.any():
        tree = cKDTree(grid.points(others), compact_nodes=False, balanced_tree=False)
        result[apart] = tree.query(grid.points(voxels[apart]))[0]
    return result
