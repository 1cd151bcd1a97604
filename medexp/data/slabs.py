"""A single volume as train, val and test: slabs of it, where there are no other patients to test on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

import numpy as np

from medexp.data.expand import expanded
from medexp.data.formats.part import slice_axis
from medexp.data.images import Header
from medexp.data.records import Plane, Record, Window
from medexp.errors import UserError, nearest

log = logging.getLogger(__name__)
PLANES = ("axial", "coronal", "sagittal")
PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class Slabs:
    """How a volume is cut (`dataset.slabs`). Raises UserError for values that cut none.

    plane: slabs lie in it, in the order of their place: from left to right, from back to front, from foot to head.
    shares: of [train, val, test]. gap: voxels that are left out between two of them, as neighbours look alike.
    Scores then say how well the rest of a scan is restored, and nothing of other patients or scanners.
    """

    plane: Plane = "sagittal"
    shares: Sequence[float] = (0.6, 0.15, 0.25)
    gap: int = 4

    def __post_init__(self) -> None:
        if self.plane not in PLANES:
            hint = nearest(self.plane, list(PLANES)) or ";"
            raise UserError(f"dataset.slabs.plane: '{self.plane}'{hint} allowed: {', '.join(PLANES)}")
        if len(self.shares) != 3 or not all(s > 0 for s in self.shares) or abs(sum(self.shares) - 1) > 1e-6:
            raise UserError(f"dataset.slabs.shares: {list(self.shares)}; give [train, val, test] that add up to 1")
        if self.gap < 0:
            raise UserError(f"dataset.slabs.gap: {self.gap} is negative; 0 leaves no voxels out")

    def cases(self, records: Sequence[Record]) -> list[Record]:
        """A record a slab, <case>_train, _val and _test. The slabs of one volume count as patients, as nothing else can be
        divided. Raises Faults where a volume is too thin."""
        found = expanded(records, self._cut)
        said = f"train, val and test are {self.plane} slabs of each: scores say nothing of other patients"
        log.info("%d volumes (dataset.slabs): %s", len(records), said)
        return found

    def _cut(self, record: Record, head: Header) -> list[Record]:
        if record.slice is not None or record.window is not None or len(head.shape) < 3:
            raise UserError(f"case {record.case_id}: is no whole volume; set dataset.slabs=null")
        affine = np.asarray(head.affine, float)
        axis, shape = slice_axis(affine, self.plane), np.asarray(head.shape[:3])
        bounds = [0, *(round(int(shape[axis]) * share) for share in accumulate(self.shares))]
        cuts = [(first + self.gap * (first > 0), end) for first, end in pairwise(bounds)]
        thin = [part for part, (first, end) in zip(PARTS, cuts, strict=True) if end <= first]
        if thin:
            what = f"{shape[axis]} {self.plane} slices leave none for {thin[0]}"
            raise UserError(
                f"case {record.case_id}: {what}; give dataset.slabs other shares, a smaller gap, another plane"
            )
        normal = affine[:3, axis]
        if normal[np.argmax(np.abs(normal))] < 0:  # counted from the other end
            cuts = [(int(shape[axis]) - end, int(shape[axis]) - first) for first, end in cuts]
        return [
            replace(
                record,
                case_id=f"{record.case_id}_{part}",
                patient_id=f"{record.group}_{part}",
                split=part,
                window=_window(affine, shape, axis, *cut),
            )
            for part, cut in zip(PARTS, cuts, strict=True)
        ]


def _window(affine: np.ndarray, shape: np.ndarray, axis: int, first: int, end: int) -> Window:
    """The voxels from `first` to before `end` along an axis, as a place in mm."""
    lower, upper = np.zeros(3), shape.astype(float)
    lower[axis], upper[axis] = first, end
    size = (upper - lower) * np.linalg.norm(affine[:3, :3], axis=0)
    centre = affine[:3, :3] @ ((lower + upper - 1) / 2) + affine[:3, 3]
    return Window(
        (float(centre[0]), float(centre[1]), float(centre[2])), (float(size[0]), float(size[1]), float(size[2]))
    )
