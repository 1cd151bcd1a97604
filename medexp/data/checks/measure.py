"""Numbers of images and label maps, taken in few passes: of a volume of 256^3 voxels in well under a second."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import nibabel as nib
import numpy as np

from medexp.data.formats.scan import Array

CHUNK = 2**20  # voxels looked at in one go: they stay in the processor's cache
SAMPLE = 10**6  # foreground voxels a channel that quantiles are taken of
QUANTILES = np.linspace(0.0, 1.0, 201)  # 0, 0.5, 1, ... 100 %
LARGEST_VALUE = 2**16  # label values below are counted in a table


@dataclass(frozen=True)
class Foreground:
    """One channel within the label map's foreground: `quantiles` at 0, 0.5, ... 100 % (201), mean and standard deviation.

    Of at most 10^6 voxels: where there are more, every k-th in the order of the array, with the smallest k that keeps
    to it. The same case always gives the same numbers.
    """

    quantiles: tuple[float, ...]
    mean: float
    std: float


def displacement(one: Array, other: Array, shape: Sequence[int]) -> float:
    """Largest distance, in voxels of `one`, between the places that two affines give the corners of a grid."""
    ends = [(0, max(size - 1, 0)) for size in shape] + [(0, 0)] * (3 - len(shape))
    corners = np.asarray([(*corner, 1.0) for corner in product(*ends)])
    moved = corners @ other.T @ np.linalg.inv(one).T
    return float(np.abs(moved - corners)[:, : len(shape)].max())


def codes(affine: Array) -> str:
    return "".join(code or "?" for code in nib.orientations.aff2axcodes(affine))


def intensity(values: Array) -> tuple[float, float, float, float]:
    """Minimum, maximum, mean and standard deviation, in one pass; sums in float64, about the first value."""
    shift, total, squares = float(values[0]), 0.0, 0.0
    least, most = shift, shift
    for start in range(0, values.size, CHUNK):
        chunk = values[start : start + CHUNK]
        least, most = min(least, float(chunk.min())), max(most, float(chunk.max()))
        wide = chunk.astype(np.float64) - shift
        total += float(wide.sum())
        squares += float(wide @ wide)
    mean = total / values.size
    return least, most, shift + mean, max(squares / values.size - mean**2, 0.0) ** 0.5


def counts(label: Array) -> dict[int, int]:
    """Label value -> voxels."""
    flat = label.reshape(-1)
    if not 0 <= flat.min() <= flat.max() < LARGEST_VALUE:
        values, counts = np.unique(flat, return_counts=True)
        return {int(value): int(count) for value, count in zip(values, counts, strict=True)}
    table = np.zeros(int(flat.max()) + 1, dtype=np.int64)
    for start in range(0, flat.size, CHUNK):  # bincount copies to int64: a part at a time
        table += np.bincount(flat[start : start + CHUNK], minlength=len(table))
    return {int(value): int(table[value]) for value in np.flatnonzero(table)}


def foreground(array: Array, label: Array, present: list[int]) -> tuple[Foreground | None, ...]:
    places = np.flatnonzero(label.reshape(-1) > 0)
    places = places[:: -(-len(places) // SAMPLE) or 1]

    def one(index: int) -> Foreground | None:
        if index not in present or not len(places):
            return None
        values = array[index].reshape(-1)[places].astype(np.float64)
        quantiles = tuple(float(f"{value:.7g}") for value in np.quantile(values, QUANTILES))
        return Foreground(quantiles, float(values.mean()), float(values.std()))

    return tuple(one(index) for index in range(len(array)))


def nonzero_box(array: Array, present: Sequence[int]) -> tuple[float, tuple[int, ...]]:
    """Share of the voxels (C, *spatial) that are not 0 in every present channel, and the shape of the box around them."""
    nonzero = np.zeros(array.shape[1:], dtype=bool)
    for index in present:
        nonzero |= array[index] != 0
    axes = range(nonzero.ndim)
    inside = [np.flatnonzero(nonzero.any(axis=tuple(a for a in axes if a != axis))) for axis in axes]
    shape = tuple(int(ends[-1] - ends[0] + 1) if len(ends) else 0 for ends in inside)
    return np.count_nonzero(nonzero) / max(nonzero.size, 1), shape
