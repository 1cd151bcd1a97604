"""From the voxel grid of a file to the prepared one, and the way back for what a network says of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import nibabel as nib
import numpy as np
import torch
from torch import Tensor

from medexp.data.formats.scan import Array
from medexp.data.preparation.resample import (
    Axis,
    Taps,
    interpolate,
    resample_linear,
    resample_nearest,
    resize_linear,
    resize_nearest,
    shift_axes,
    size_axes,
    spacing_axes,
)

SLAB = 2**19  # voxels worked on at a time on the way back: a few arrays of that size stay in the processor's cache
Box = tuple[tuple[int, ...], tuple[int, ...]]  # first voxel along each axis, and the one after the last
Parts = Iterable[tuple[int, Tensor]]  # index along the first axis, and (K, voxels along it from there on, *the others)


@dataclass(frozen=True)
class Grid:
    """Voxel grid in space: shape, affine (4, 4) in mm, spacing in mm of the spatial axes."""

    shape: tuple[int, ...]
    affine: Array
    spacing: tuple[float, ...]


@dataclass(frozen=True)
class Way:
    """What leads from a source grid to a prepared one: its axes turned, cut to a box, resampled one by one.

    orientation: axis codes of volumes, None to keep the axes (as 2D images do). box: what is kept of the turned grid, in
    its voxels. spacing: mm a voxel, size: voxels; None to keep them. An oblique grid stays as oblique as it is.
    resize: whether `size` is reached by resampling, or by padding and cutting around the middle.
    """

    source: Grid
    orientation: str | None = None
    box: Box | None = None
    spacing: Sequence[float] | None = None
    size: Sequence[int] | None = None
    resize: bool = True

    def view(self, array: Array) -> Array:
        """(C, *spatial) of the source, turned and cut: a view."""
        if self._turn is not None:
            array = np.moveaxis(nib.orientations.apply_orientation(np.moveaxis(array, 0, -1), self._turn), -1, 0)
        if self.box is None:
            return array
        return array[(slice(None), *(slice(start, stop) for start, stop in zip(*self.box, strict=True)))]

    def image(self, array: Array) -> Array:
        """(C, *spatial) of the source, float32 on the prepared grid; it may share memory with `array`."""
        values = resample_linear(self.view(array), self._steps[0])
        if not self.resize:
            return resample_nearest(values, self._steps[1])
        return values if self.size is None else resize_linear(values, self.size)

    def label(self, array: Array) -> Array:
        """(C, *spatial) of the source, in its own type on the prepared grid; it may share memory with `array`."""
        values = resample_nearest(self.view(array), self._steps[0])
        if not self.resize:
            return resample_nearest(values, self._steps[1])
        return values if self.size is None else resize_nearest(values, self.size)

    @property
    def affine(self) -> Array:
        """Of the prepared grid (4, 4)."""
        turned = nib.orientations.inv_ornt_aff(self._turn, self.source.shape) if self._turn is not None else np.eye(4)
        moved = np.eye(4)
        for index, axis in enumerate(self._axes):
            moved[index, index], moved[index, 3] = axis.scale, axis.offset + (self.box[0][index] if self.box else 0)
        return np.asarray(self.source.affine @ turned @ moved)

    def back(self, probabilities: Tensor | Parts) -> Array:
        """Class map (uint8, uint16 beyond 256 classes), shape of the source, from probabilities (K, *spatial) on the
        prepared grid, or from parts of them along the first axis in order, which are asked for one after the other and
        not kept. Background outside of the box. Raises ValueError where they lie on another grid."""
        seen = tuple(axis.new for axis in self._axes)
        labels: Array | None = None
        taps = [None if axis.same else Taps.of(axis) for axis in (axis.back() for axis in self._axes)]
        for slab in _slabs([(0, probabilities)] if isinstance(probabilities, Tensor) else probabilities, taps[0], seen):
            if labels is None:
                labels = np.zeros(self.source.shape, dtype=np.uint8 if len(slab.values) <= 256 else np.uint16)
            _write_classes(slab, taps, self.view(labels[None])[0])
        assert labels is not None
        if not self.resize:
            self._cut_off(self.view(labels[None])[0])
        return labels

    def _cut_off(self, labels: Array) -> None:
        """Background where the turned scan reaches beyond the prepared grid, which says nothing of it."""
        for index, axis in enumerate(axis.back() for axis in self._axes):
            places = axis.scale * np.arange(axis.new) + axis.offset
            np.moveaxis(labels, index, 0)[(places < -0.5) | (places > axis.old - 0.5)] = 0

    def image_back(self, values: Array) -> Array:
        """(C, *source shape) of values (C, *spatial) on the prepared grid, interpolated linearly; 0 outside of the box."""
        made = np.zeros((len(values), *self.source.shape), np.float32)
        taps = [None if axis.same else Taps.of(axis) for axis in (axis.back() for axis in self._axes)]
        self.view(made)[...] = interpolate(np.asarray(values, np.float32), taps)
        return made

    @cached_property
    def _turn(self) -> Array | None:
        if self.orientation is None:
            return None
        wanted = nib.orientations.axcodes2ornt(tuple(self.orientation))
        return np.asarray(nib.orientations.ornt_transform(nib.orientations.io_orientation(self.source.affine), wanted))

    @cached_property
    def _steps(self) -> tuple[tuple[Axis, ...], tuple[Axis, ...]]:
        """The axes at the wanted spacing on those of the turned and cut scan, and of the wanted size on those."""
        order = range(len(self.source.shape)) if self._turn is None else np.argsort(self._turn[:, 0])
        shape = [self.source.shape[axis] for axis in order]
        if self.box is not None:
            shape = [stop - start for start, stop in zip(*self.box, strict=True)]
        spacing = [self.source.spacing[axis] for axis in order]
        spaced = spacing_axes(shape, spacing, self.spacing or spacing)
        reached = [axis.new for axis in spaced]
        return spaced, (size_axes if self.resize else shift_axes)(reached, self.size or reached)

    @cached_property
    def _axes(self) -> list[Axis]:
        return [one.then(two) for one, two in zip(*self._steps, strict=True)]


def nonzero_box(values: Array) -> Box:
    """The smallest box that holds every voxel of (C, *spatial) that is not zero in every channel; the whole image where
    all are. nnU-Net crops alike (Isensee et al. 2021)."""
    whole, start, stop = values.shape[1:], [], []
    for axis in range(1, values.ndim):  # from outside inwards: what is inside is never looked at
        slabs = np.moveaxis(values, axis, 0)
        first = next((index for index, slab in enumerate(slabs) if slab.any()), None)
        if first is None:
            return (0,) * len(whole), tuple(whole)
        last = next(index for index in range(len(slabs) - 1, -1, -1) if slabs[index].any())
        start.append(first)
        stop.append(last + 1)
        values = np.moveaxis(slabs[first : last + 1], 0, axis)
    return tuple(start), tuple(stop)


@dataclass(frozen=True)
class _Slab:
    """Probabilities (K, voxels along the first axis, *the others) from voxel `first` of the prepared grid on; `start` and
    `stop` are the voxels of the way back that need nothing else."""

    first: int
    values: Tensor
    start: int
    stop: int


def _slabs(parts: Parts, taps: Taps | None, grid: tuple[int, ...]) -> Iterator[_Slab]:
    """Each part, with what the next voxels need of the one before. Raises ValueError where they are not those of `grid`."""
    last_needed = np.arange(grid[0]) if taps is None else np.minimum(taps.lower + 1, grid[0] - 1)
    first_needed = last_needed if taps is None else taps.lower
    held, reached, done = None, 0, 0
    seen: tuple[int, ...] = ()
    for first, part in parts:
        seen = tuple(part.shape)
        reached = first + part.shape[1] if first == reached else -1
        if seen[2:] != grid[1:] or not 0 <= reached <= grid[0]:
            break
        values = part if held is None else torch.cat([held, part], dim=1)
        ready = int(np.searchsorted(last_needed, reached))
        if ready > done:
            yield _Slab(reached - values.shape[1], values, done, ready)
        keep = reached - int(first_needed[ready]) if ready < len(first_needed) else 0
        held, done = values[:, values.shape[1] - keep :].clone() if keep > 0 else None, ready
    if reached != grid[0]:
        raise ValueError(f"probabilities of shape {seen} do not lie on the prepared grid {grid}")


def _write_classes(slab: _Slab, taps: Sequence[Taps | None], into: Array) -> None:
    """Writes the most probable class of every voxel, the first one where several are, to the view `into` (*spatial).

    taps: of `into` on the probabilities, an axis each. What is written is gone through in thinner slabs along its first
    axis, and in each class after class, so that what is held at a time depends neither on the size of the volume nor on
    the number of classes.
    """
    rows = max(SLAB * len(into) // max(into.size, 1), 1)
    starts = range(slab.start, slab.stop, rows)

    def write(start: int) -> None:
        stop, first = min(start + rows, slab.stop), taps[0]
        needed, part = (slice(start, stop), None) if first is None else first.part(start, stop)
        values = slab.values[:, needed.start - slab.first : needed.stop - slab.first]
        into[start:stop] = _most_probable(values, [part, *taps[1:]])

    with ThreadPoolExecutor(max(min(torch.get_num_threads(), len(starts)), 1)) as pool:
        list(pool.map(write, starts))


def _most_probable(slab: Tensor, taps: Sequence[Taps | None]) -> Array:
    """Arg max over the classes of a slab (K, *spatial), interpolated. A compare a class: over a strided axis torch's and
    numpy's arg max take many times as long."""
    first = _array(slab[0])
    best = interpolate(first[None], taps)[0]
    best = best.copy() if np.may_share_memory(best, first) else best  # the caller's probabilities stay as they are
    labels = np.zeros(best.shape, dtype=np.uint8 if len(slab) <= 256 else np.uint16)
    for index in range(1, len(slab)):
        plane = _array(slab[index])
        if plane.max() <= best.min():  # then nothing between its voxels is above what there is, either
            continue
        value = interpolate(plane[None], taps)[0]
        np.copyto(labels, index, where=value > best, casting="unsafe")
        np.maximum(best, value, out=best)
    return labels


def _array(plane: Tensor) -> Array:
    return np.asarray(plane.float().numpy())
