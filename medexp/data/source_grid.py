"""The way back: a class map on the grid of the file, from class probabilities on the prepared grid."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from medexp.data.formats.scan import Array
from medexp.data.resample import Axis, Taps, interpolate

SLAB = 2**19  # voxels worked on at a time: a few arrays of that size stay in the processor's cache


def map_type(classes: int) -> type[np.uint8] | type[np.uint16]:
    """The type of a class map."""
    return np.uint8 if classes <= 256 else np.uint16


def write_classes(probabilities: Tensor, axes: Sequence[Axis], into: Array) -> None:
    """Writes the most probable class of every voxel, the first one where several are, to `into`.

    probabilities: (K, *spatial), on the new grid of `axes`; into: (*old grid of `axes`), any view. The volume is gone
    through in slabs along its first axis, and in each class after class, so that what is held at a time depends neither
    on the size of the volume nor on the number of classes.
    """
    back = [axis.back() for axis in axes]
    seen = tuple(axis.old for axis in back)
    if tuple(probabilities.shape[1:]) != seen or tuple(axis.new for axis in back) != into.shape:
        raise ValueError(f"probabilities of shape {tuple(probabilities.shape)} do not lie on the prepared grid {seen}")
    taps = [None if axis.same else Taps.of(axis) for axis in back]
    rows = max(SLAB * into.shape[0] // max(into.size, 1), 1)
    starts = range(0, into.shape[0], rows)

    def write(start: int) -> None:
        stop = min(start + rows, into.shape[0])
        first = taps[0]
        needed, part = (slice(start, stop), None) if first is None else first.part(start, stop)
        into[start:stop] = _most_probable(probabilities[:, needed], [part, *taps[1:]])

    threads = min(torch.get_num_threads(), len(starts))
    if threads > 1:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(write, starts))
    else:
        for start in starts:
            write(start)


def _most_probable(slab: Tensor, taps: Sequence[Taps | None]) -> Array:
    """Arg max over the classes of a slab (K, *spatial), interpolated. A compare a class: over a strided axis torch's and
    numpy's arg max take many times as long."""
    classes = slab.shape[0]
    first = _float(slab[0])
    best = interpolate(first[None], taps)[0]
    best = best.copy() if np.may_share_memory(best, first) else best  # the caller's probabilities stay as they are
    labels = np.zeros(best.shape, dtype=map_type(classes))
    for index in range(1, classes):
        plane = _float(slab[index])
        if plane.max() <= best.min():  # nowhere above what there is, and nothing between its voxels is above them
            continue
        value = interpolate(plane[None], taps)[0]
        np.copyto(labels, index, where=value > best, casting="unsafe")
        np.maximum(best, value, out=best)
    return labels


def _float(plane: Tensor) -> Array:
    return np.asarray(plane.float().numpy())
