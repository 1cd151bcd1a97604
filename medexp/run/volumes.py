"""Slices of volumes put together again, for models of slices: people want the volume's mask and the volume's scores."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import nibabel as nib
import numpy as np

from medexp.data.formats.part import slice_axis
from medexp.data.images import header
from medexp.data.records import Record

Array = np.ndarray[Any, Any]


def volume_id(record: Record) -> str:
    """Case id of the volume that a slice is of (the slice's own without its number)."""
    return record.case_id.rpartition("_")[0]


class Volumes:
    """Collects what is made of each slice until the last slice of its volume is there.

    records: all slices that will come; of a volume it may be a part (`dataset.limit`).
    """

    def __init__(self, records: Sequence[Record]) -> None:
        self.awaited = Counter(volume_id(record) for record in records)
        self.held: dict[str, dict[int, tuple[Array, ...]]] = defaultdict(dict)

    def __len__(self) -> int:
        return len(self.awaited)

    def add(self, record: Record, *maps: Array) -> tuple[Array, ...] | None:
        """The maps (rows, columns) of all slices stacked as the volume's file has them, once the last is there."""
        assert record.slice is not None
        name = volume_id(record)
        self.held[name][record.slice.index] = maps
        if len(self.held[name]) < self.awaited[name]:
            return None
        slices = [maps for _, maps in sorted(self.held.pop(name).items())]
        axis = slice_axis(header(record).affine, record.slice.plane)
        return tuple(np.stack(one, axis=axis) for one in zip(*slices, strict=True))


def volume_spacing(record: Record) -> tuple[float, ...]:
    """Spacing in mm of the volume that a slice is of."""
    return tuple(float(size) for size in nib.affines.voxel_sizes(header(record).affine)[:3])
