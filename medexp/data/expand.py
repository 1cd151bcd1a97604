"""Cases out of larger scans: every slice of a volume, every time point of a 4D scan. Headers are read, no voxels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from medexp.data.formats.part import slice_axis
from medexp.data.formats.picture import PICTURES
from medexp.data.images import Header, header, suffix
from medexp.data.records import Plane, Record, Slice
from medexp.errors import Faults, UserError


def slices(records: Sequence[Record], plane: Plane, neighbours: int = 0) -> list[Record]:
    """A record a slice, <case>_0000 on, with its neighbours; all slices of a volume stay with its patient. Raises Faults."""

    def cut(record: Record, head: Header) -> list[Record]:
        if record.slice is not None:
            return [record]
        if len(head.shape) < 3:
            raise UserError(f"case {record.case_id}: is 2D {head.shape}; dataset.plane={plane} takes slices of volumes")
        count = head.shape[slice_axis(np.asarray(head.affine), plane)]
        return [
            replace(record, case_id=f"{record.case_id}_{part.index:04d}", patient_id=record.group, slice=part)
            for part in (Slice(plane, index, neighbours) for index in range(count))
        ]

    return expanded(records, cut)


def time_points(records: Sequence[Record], channels: int) -> list[Record]:
    """A record a time point, <case>_t000 on; all time points stay with their patient. Raises Faults.

    channels: a fourth axis of that many entries is one of channels, not of time.
    """

    def cut(record: Record, head: Header) -> list[Record]:
        if len(head.shape) < 4 or head.shape[3] in (1, channels if channels > 1 else 1):
            return [record]
        return [
            replace(record, case_id=f"{record.case_id}_t{time:03d}", patient_id=record.group, time=time)
            for time in range(head.shape[3])
        ]

    return expanded(records, cut)


def frames(records: Sequence[Record], spatial_dims: int) -> list[Record]:
    """Records of studies with their frames known: of one file, its time points. Raises Faults."""

    def cut(record: Record, head: Header) -> list[Record]:
        if record.frames is not None or len(head.shape) <= spatial_dims:
            return [record]
        return [replace(record, frames=tuple(range(head.shape[-1])))]

    alone = [record for record in records if len(record.images) == 1 and suffix(record.files[0]) not in PICTURES]
    found = {record.case_id: record for record in expanded(alone, cut)}
    return [found.get(record.case_id, record) for record in records]


def expanded(records: Sequence[Record], cut: Callable[[Record, Header], list[Record]]) -> list[Record]:
    """All that `cut` makes of each record and its header. Raises Faults."""

    def one(record: Record) -> list[Record] | str:
        try:
            return cut(record, header(record))
        except UserError as error:
            return str(error)

    with ThreadPoolExecutor() as pool:
        outcomes = list(pool.map(one, records))
    faults = [outcome for outcome in outcomes if isinstance(outcome, str)]
    if faults:
        raise Faults(f"{len(faults)} of {len(records)} cases cannot be used", faults)
    return [record for outcome in outcomes if not isinstance(outcome, str) for record in outcome]
