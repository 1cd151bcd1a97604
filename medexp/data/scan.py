"""One image or label map as its file holds it, whatever the format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Scan:
    """One image or label map as its file holds it.

    array: float32 (C, *spatial) of an image, integer (*spatial) of a label map. affine: (4, 4), voxel to mm.
    spacing: mm a voxel along each spatial axis (1 where the format knows none).
    """

    array: Array
    affine: Array
    spacing: tuple[float, ...]


class Unreadable(Exception):
    """What is wrong with a file; the caller adds case and name."""


def first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def channel_first(voxels: Array, spatial_dims: int, channels: int | None) -> Array:
    """(*spatial) or (*spatial, C) to (C, *spatial); trailing axes of 1 are dropped."""
    while voxels.ndim > spatial_dims and voxels.shape[-1] == 1:
        voxels = voxels[..., 0]
    if voxels.ndim == spatial_dims:
        return np.ascontiguousarray(voxels)[None]
    if voxels.ndim == spatial_dims + 1 and channels is not None and voxels.shape[-1] == channels:
        return np.ascontiguousarray(np.moveaxis(voxels, -1, 0))
    seen = f"is {voxels.ndim}D {voxels.shape} where {spatial_dims}D is expected"
    raise Unreadable(f"{seen}; set dataset.spatial_dims or dataset.in_channels")
