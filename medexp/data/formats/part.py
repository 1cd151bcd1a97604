"""A part of a volume: one slice in an anatomical plane, or a window around a place."""

from __future__ import annotations

import nibabel as nib
import numpy as np

from medexp.data.formats.scan import Scan, Unreadable
from medexp.data.records import Slice, Window

NORMAL = {"sagittal": 0, "coronal": 1, "axial": 2}  # of the RAS axes


def slice_axis(affine: np.ndarray, plane: str) -> int:
    """The voxel axis that runs most nearly along the normal of an anatomical plane."""
    return int(np.flatnonzero(nib.orientations.io_orientation(affine)[:, 0] == NORMAL[plane])[0])


def cut_slice(scan: Scan, part: Slice) -> Scan:
    """(C, *spatial 3D) to (C, rows, columns), of each channel first to last neighbour; spacing and affine keep the two
    axes that are left. Raises Unreadable."""
    axis = slice_axis(scan.affine, part.plane)
    count = scan.array.shape[axis + 1]
    if not 0 <= part.index < count:
        raise Unreadable(f"has {count} {part.plane} slices; there is no number {part.index}")
    left = [other for other in range(3) if other != axis]
    wanted = np.arange(part.index - part.neighbours, part.index + part.neighbours + 1).clip(0, count - 1)
    array = np.moveaxis(np.take(scan.array, wanted, axis=axis + 1), axis + 1, 1)  # (C, slices, rows, columns)
    array = np.ascontiguousarray(array.reshape(-1, *array.shape[2:]))
    spacing = tuple(scan.spacing[other] for other in left)
    return Scan(array, np.diag([*spacing, 1.0, 1.0]), spacing, scan.missing)


def cut_window(scan: Scan, window: Window) -> Scan:
    """The voxels around a place, at the volume's own spacing. Raises Unreadable where the place is outside of it."""
    shape = np.asarray(scan.array.shape[1:])
    centre = (np.linalg.inv(scan.affine) @ [*window.centre, 1.0])[:3]
    if ((centre < -0.5) | (centre > shape - 0.5)).any():
        seen = ", ".join(f"{value:.1f}" for value in centre)
        raise Unreadable(f"the place {window.centre} mm is voxel ({seen}), outside of the volume {tuple(shape)}")
    size = np.maximum(np.rint(np.asarray(window.size) / scan.spacing), 1).astype(int)
    start = np.rint(centre - (size - 1) / 2).astype(int)
    stop = start + size
    inside = tuple(slice(max(a, 0), min(b, n)) for a, b, n in zip(start, stop, shape, strict=True))
    beyond = [(0, 0), *((max(-a, 0), max(b - n, 0)) for a, b, n in zip(start, stop, shape, strict=True))]
    array = np.pad(scan.array[(slice(None), *inside)], beyond, mode="edge")
    affine = scan.affine.copy()
    affine[:3, 3] = scan.affine[:3, :3] @ start + scan.affine[:3, 3]
    return Scan(array, affine, scan.spacing, scan.missing)
