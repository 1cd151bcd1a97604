"""One image or label map as its file holds it, and what a reader is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Scan:
    """One image or label map as its file holds it.

    array: float32 (C, *spatial) of an image, integer (*spatial) of a label map. affine: (4, 4), voxel to mm (RAS).
    spacing: mm a voxel along each spatial axis (1 where the format knows none). missing: channels that the case lacks
    (zeros in `array`). ignored: whether IGNORED in a label map means that it was not annotated.
    """

    array: Array
    affine: Array
    spacing: tuple[float, ...]
    missing: tuple[int, ...] = ()
    ignored: bool = False


@dataclass(frozen=True)
class Wanted:
    """What a caller asks of a file. Readers (`read(path, wanted) -> Scan`) give the image as float32 (C, *spatial) and
    a label map, for which `label` is set, as (1, *spatial) in the type of the file; they raise Unreadable.

    channels: that many, None for as many as there are. member: row of an array file, or series of a DICOM folder.
    time: index of the time point where the file holds several.
    """

    spatial_dims: int
    channels: int | None = None
    label: bool = False
    member: int | str | None = None
    time: int | None = None
    split: str | None = None


class Unreadable(Exception):
    """What is wrong with a file; the caller adds case and name."""


def first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def at_time(voxels: Array, wanted: Wanted) -> Array:
    """The wanted time point of (*spatial, T), or the voxels as they are where none is asked for. Raises Unreadable."""
    if wanted.time is None or (wanted.label and voxels.ndim == wanted.spatial_dims):  # one label map for all times
        return voxels
    points = voxels.shape[-1] if voxels.ndim == wanted.spatial_dims + 1 else 1
    if not 0 <= wanted.time < points:
        raise Unreadable(f"has {points} time points; there is no number {wanted.time}")
    return voxels[..., wanted.time] if voxels.ndim == wanted.spatial_dims + 1 else voxels


def channel_first(voxels: Array, wanted: Wanted) -> Array:
    """(*spatial) or (*spatial, C) to (C, *spatial); trailing axes of 1 are dropped. Raises Unreadable."""
    spatial_dims, channels = wanted.spatial_dims, wanted.channels
    while voxels.ndim > spatial_dims and voxels.shape[-1] == 1:
        voxels = voxels[..., 0]
    if voxels.ndim == spatial_dims:
        return np.ascontiguousarray(voxels)[None]
    if voxels.ndim == spatial_dims + 1 and channels is not None and voxels.shape[-1] == channels:
        return np.ascontiguousarray(np.moveaxis(voxels, -1, 0))
    seen = f"is {voxels.ndim}D {voxels.shape} where {spatial_dims}D is expected"
    raise Unreadable(f"{seen}; set dataset.spatial_dims or dataset.in_channels")


def without_place(pixels: Array, wanted: Wanted) -> Scan:
    """A picture, which lies nowhere in space: unit spacing. (*spatial[, C]); RGB becomes grey where one channel is
    wanted, grey is repeated where three are. Raises Unreadable."""
    spatial_dims, channels, label = wanted.spatial_dims, wanted.channels, wanted.label
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8)
    if pixels.ndim == spatial_dims + 1 and pixels.shape[-1] in (3, 4) and channels != pixels.shape[-1]:
        pixels = pixels[..., :3]
        if label and (pixels != pixels[..., :1]).any():
            raise Unreadable("is a colour picture, not a label map; save class indices as grey values")
        if channels == 1:  # ITU-R BT.601 luma, as PIL's "L"
            weights = np.asarray([0.299, 0.587, 0.114])
            pixels = pixels[..., 0] if label else pixels @ weights
    array = channel_first(pixels if label else np.asarray(pixels, dtype=np.float32), wanted)
    if channels == 3 and len(array) == 1:
        array = np.repeat(array, 3, axis=0)
    return Scan(array, np.eye(4), (1.0,) * spatial_dims)
