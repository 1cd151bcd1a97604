"""Resampling along the axes of a voxel grid: one axis after the other, in float32, on the grids that MONAI would choose.

MONAI's Spacing interpolates in all axes at once and in float64, which an oblique grid needs. A grid that keeps its axes
does not: linear and nearest-neighbour interpolation are separable, and most of the work falls on a grid that is already
smaller along the other axes. Every product below is too small for BLAS to share it among threads, so many cases can be
resampled at the same time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import torch
import torch.nn.functional as F
from monai.data.utils import AFFINE_TOL, compute_shape_offset, zoom_affine

from medexp.data.formats.scan import Array

ALONE = 2**18  # multiplications of a matrix product up to which OpenBLAS stays on one thread
LAST = 3.0  # what a voxel costs along the last axis, compared with one along the others


@dataclass(frozen=True)
class Axis:
    """One axis of a new grid on an old one: voxel j of the new lies at voxel `scale * j + offset` of the old."""

    old: int
    new: int
    scale: float = 1.0
    offset: float = 0.0

    @property
    def same(self) -> bool:
        """Whether both have the same voxels."""
        return self.old == self.new and abs(self.offset) < 1e-6 and abs(self.scale - 1) * self.new < 1e-6

    def then(self, other: Axis) -> Axis:
        """This axis resampled once more by `other`, whose old axis is this new one."""
        return Axis(self.old, other.new, self.scale * other.scale, self.scale * other.offset + self.offset)

    def back(self) -> Axis:
        """The old axis on the new one."""
        return Axis(self.new, self.old, 1 / self.scale, -self.offset / self.scale)

    def positions(self) -> Array:
        """Where the new voxels are on the old axis, float64 (new,), kept within its first and last voxel.

        As to_norm_affine of MONAI, affine_grid and grid_sample of torch compute it, to the last bit: which of two
        neighbours a voxel halfway between them takes (spacing 2 to 1) hangs on how the last bit is rounded.
        """
        place = torch.tensor([[self.scale, self.offset], [0.0, 1.0]], dtype=torch.float64)
        onto = np.linalg.inv(np.array([[2.0 / self.new, 1.0 / self.new - 1.0], [0.0, 1.0]]))
        source = torch.tensor([[2.0 / self.old, 1.0 / self.old - 1.0], [0.0, 1.0]], dtype=torch.float64)
        theta = source @ place @ torch.from_numpy(onto)
        ends = torch.linspace(-1, 1, self.new, dtype=torch.float64) if self.new > 1 else torch.zeros(1).double()
        grid = ends * (self.new - 1) / self.new * theta[0, 0] + theta[0, 1]
        return np.asarray((((grid + 1) * self.old - 1) / 2).clamp(0, self.old - 1).numpy())


def spacing_axes(shape: Sequence[int], spacing: Sequence[float], wanted: Sequence[float]) -> tuple[Axis, ...]:
    """Axes from one spacing to another (mm), as MONAI's Spacing has them: the first voxel stays where it is, the last new
    one lies within half a voxel of the last old one, and a difference below AFFINE_TOL (0.001) changes nothing."""
    pairs = zip(spacing, wanted, strict=True)
    kept = [old if new - AFFINE_TOL <= old <= new + AFFINE_TOL else new for old, new in pairs]
    old = np.diag([*spacing, 1.0])
    new = zoom_affine(old, kept, diagonal=False)
    sizes, _ = compute_shape_offset(shape, old, new)
    scales = np.diag(np.linalg.solve(old, new))[:-1]
    near = np.allclose(old, new, atol=AFFINE_TOL) or np.allclose(scales, 1, atol=AFFINE_TOL)
    if near and list(sizes) == list(shape):
        return tuple(Axis(size, size) for size in shape)
    return tuple(Axis(n, int(m), float(scale)) for n, m, scale in zip(shape, sizes, scales, strict=True))


def size_axes(shape: Sequence[int], size: Sequence[int]) -> tuple[Axis, ...]:
    """Axes from one number of voxels to another over the same field of view."""
    return tuple(Axis(n, m, n / m, (n / m - 1) / 2) for n, m in zip(shape, size, strict=True))


def shift_axes(shape: Sequence[int], size: Sequence[int]) -> tuple[Axis, ...]:
    """Axes from one number of voxels to another with the same middle and voxels as large: padded or cut."""
    return tuple(Axis(n, m, 1.0, (n - m) // 2) for n, m in zip(shape, size, strict=True))


@dataclass(frozen=True)
class Taps:
    """Linear interpolation along one axis: new voxel j is (1 - weight[j]) of old voxel lower[j] and weight[j] of the next.

    lower: int64 (new,), ascending; weight: float32 (new,); old: voxels of the old axis.
    """

    old: int
    lower: Array
    weight: Array

    @classmethod
    def of(cls, axis: Axis) -> Taps:
        positions = axis.positions()
        lower = np.minimum(positions.astype(np.int64), max(axis.old - 2, 0))
        return cls(axis.old, lower, (positions - lower).astype(np.float32))

    def part(self, start: int, stop: int) -> tuple[slice, Taps]:
        """The old voxels that the new ones start..stop need, and their taps on those."""
        lower = self.lower[start:stop]
        first, last = int(lower[0]), min(int(lower[-1]) + 2, self.old)
        return slice(first, last), Taps(last - first, lower - first, self.weight[start:stop])

    def band(self, start: int, stop: int) -> tuple[slice, Array]:
        """The old voxels that the new ones start..stop need, and the weights of those, (new voxels, old voxels)."""
        needed, taps = self.part(start, stop)
        weights, rows = np.zeros((len(taps.lower), taps.old), dtype=np.float32), np.arange(len(taps.lower))
        weights[rows, taps.lower] = 1 - taps.weight
        if taps.old > 1:
            weights[rows, taps.lower + 1] = taps.weight
        return needed, weights


def resample_linear(values: Array, axes: Sequence[Axis]) -> Array:
    """Linear interpolation of float32 (C, *spatial); beyond the first and last voxel the edge goes on."""
    return interpolate(values, [None if axis.same else Taps.of(axis) for axis in axes])


def resample_nearest(values: Array, axes: Sequence[Axis]) -> Array:
    """The nearest voxel's value, of any type, (C, *spatial)."""
    indices = [None if axis.same else np.rint(axis.positions()).astype(np.intp) for axis in axes]
    return _picked(values, indices)


def interpolate(values: Array, taps: Sequence[Taps | None]) -> Array:
    """Float32 (C, *spatial) along each axis that has taps, in the order that costs least."""
    values = _contiguous(np.asarray(values, dtype=np.float32))
    sizes = [None if tap is None else (tap.old, len(tap.lower)) for tap in taps]
    for axis in _cheapest(sizes):
        tap = taps[axis]
        assert tap is not None
        values = _rows(values, tap) if axis == len(taps) - 1 else _along(values, axis + 1, tap)
    return values


def _cheapest(sizes: Sequence[tuple[int, int] | None]) -> tuple[int, ...]:
    """The order of axes that has the fewest voxels to read and write; what shrinks comes first."""
    resampled = [axis for axis, size in enumerate(sizes) if size is not None]

    def cost(order: tuple[int, ...]) -> float:
        share, total = 1.0, 0.0  # share: voxels relative to the old grid
        for axis in order:
            old, new = sizes[axis] or (1, 1)
            total += share * (1 + new / old) * (LAST if axis == len(sizes) - 1 else 1)
            share *= new / old
        return total

    return min(permutations(resampled), key=cost)


def _along(values: Array, axis: int, taps: Taps) -> Array:
    """Interpolation along any axis but the last, as products with a few rows of a band matrix."""
    count = len(taps.lower)
    made = np.empty((*values.shape[:axis], count, *values.shape[axis + 1 :]), dtype=np.float32)
    old, new = np.moveaxis(values, axis, -2), np.moveaxis(made, axis, -2)
    block = _block(taps, 16, values.shape[-1])
    for start in range(0, count, block):
        needed, weights = taps.band(start, start + block)
        np.matmul(weights, old[..., needed, :], out=new[..., start : start + block, :])
    return made


def _rows(values: Array, taps: Taps) -> Array:
    """Interpolation along the last axis, some rows at a time so that they stay in the processor's cache."""
    count = len(taps.lower)
    made = np.empty((*values.shape[:-1], count), dtype=np.float32)
    old, new = values.reshape(-1, taps.old), made.reshape(-1, count)
    block = _block(taps, 32, 64)
    bands = [(slice(start, start + block), *taps.band(start, start + block)) for start in range(0, count, block)]
    most = max(weights.size for _, _, weights in bands)
    for some in (slice(row, row + max(ALONE // most, 1)) for row in range(0, len(old), max(ALONE // most, 1))):
        for columns, needed, weights in bands:
            np.matmul(old[some, needed], weights.T, out=new[some, columns])
    return made


def _block(taps: Taps, most: int, width: int) -> int:
    """New voxels in one product: more of them waste more zeros of the band and may wake BLAS's threads."""
    step = taps.old / len(taps.lower)
    while most > 1 and most * (most * step + 2) * width > ALONE:
        most //= 2
    return most


def resize_linear(values: Array, size: Sequence[int]) -> Array:
    """Float32 (C, *spatial) to `size` voxels over the same field of view.

    Shrunk axes are averaged, which keeps what lies between the new voxels; enlarged ones are interpolated.
    """
    tensor = torch.from_numpy(_contiguous(values))[None]
    smaller = tuple(map(min, size, tensor.shape[2:]))
    if smaller != tensor.shape[2:]:
        tensor = F.interpolate(tensor, smaller, mode="area")
    if tuple(size) != smaller:
        tensor = F.interpolate(tensor, tuple(size), mode="trilinear" if len(size) == 3 else "bilinear")
    return np.asarray(tensor[0].numpy())


def resize_nearest(values: Array, size: Sequence[int]) -> Array:
    """(C, *spatial) of any type to `size` voxels over the same field of view; each takes the value at its centre."""
    indices: list[Array | None] = []
    for old, new in zip(values.shape[1:], size, strict=True):
        ramp = F.interpolate(torch.arange(old).float()[None, None], new, mode="nearest-exact")
        indices.append(None if old == new else ramp[0, 0].numpy().astype(np.intp))
    return _picked(values, indices)


def _picked(values: Array, indices: Sequence[Array | None]) -> Array:
    sizes = [
        None if index is None else (size, len(index)) for size, index in zip(values.shape[1:], indices, strict=True)
    ]
    for axis in _cheapest(sizes):
        index = indices[axis]
        assert index is not None
        values = np.take(values, index, axis=axis + 1, mode="clip")
    return _contiguous(values)


def _contiguous(values: Array) -> Array:
    """In the order of C, with strides that torch takes: numpy overlooks a negative one along an axis of one voxel."""
    values = np.ascontiguousarray(values)
    return values.copy() if min(values.strides) < 0 else values
