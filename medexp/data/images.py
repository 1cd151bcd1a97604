"""The images and label map of a case, whatever their formats. Every fault names case and file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from medexp.data.formats.arrays import read_npz
from medexp.data.formats.nifti import NIFTI, read_nifti
from medexp.data.formats.part import cut_slice, cut_window
from medexp.data.formats.picture import PICTURES, TIFF, read_picture, read_tiff
from medexp.data.formats.scan import Array, Scan, Unreadable, Wanted
from medexp.data.records import Record
from medexp.errors import UserError

Reader = Callable[[Path, Wanted], Scan]
READERS: dict[str, Reader] = {
    **dict.fromkeys(NIFTI, read_nifti),
    **dict.fromkeys(PICTURES, read_picture),
    **dict.fromkeys(TIFF, read_tiff),
}
ARRAYS: dict[str, Reader] = {".npz": read_npz}  # of many cases, so a folder of them is no folder of images
SUFFIXES = tuple(READERS)


def suffix(path: Path) -> str:
    """The image suffix of a file name in lower case, ".nii.gz" whole; "" where it is none that can be read."""
    name = path.name.lower()
    return next((end for end in sorted(SUFFIXES, key=len, reverse=True) if name.endswith(end)), "")


def stem(path: Path) -> str:
    """The file name without its image suffix."""
    return path.name[: -len(suffix(path))] if suffix(path) else path.stem


def read_image(record: Record, *, spatial_dims: int, channels: int | None = None) -> Scan:
    """All channels of a case: float32 (C, *spatial), zeros where the case lacks one. Raises UserError naming case and file."""
    if not record.files:
        raise UserError(f"case {record.case_id}: has no image at all; leave it out")
    each = channels if len(record.images) == 1 else 1
    scans = {path: _guarded(record, path, spatial_dims, each) for path in record.files}
    first = scans[record.files[0]]
    for path, scan in scans.items():
        if scan.array.shape != first.array.shape:
            what = f"has shape {scan.array.shape[1:]}, its first channel {first.array.shape[1:]}; resample one"
            raise UserError(_line(record, path, what))
        if not np.allclose(scan.affine, first.affine, atol=1e-3):
            what = "lies elsewhere in space than the first channel (affines differ); register them first"
            raise UserError(_line(record, path, what))
    arrays = [np.zeros_like(first.array) if path is None else scans[path].array for path in record.images]
    array = np.concatenate(arrays) if len(arrays) > 1 else first.array
    if channels is not None and len(array) != channels:
        what = f"has {len(array)} channels, dataset.in_channels is {channels}; set one to fit"
        raise UserError(_line(record, record.files[0], what))
    return Scan(array, first.affine, first.spacing, record.missing)


def read_label(record: Record, *, spatial_dims: int) -> Scan:
    """The label map of a case: integer (*spatial). Raises UserError naming the case and the file."""
    if record.label is None:
        raise UserError(f"case {record.case_id}: has no label map; leave it out or choose a dataset with label maps")
    scan = _guarded(record, record.label, spatial_dims, 1, label=True)
    return replace(scan, array=whole(record, record.label, scan.array[0]))


def read_region(record: Record, *, spatial_dims: int) -> Array | None:
    """The field of view of a case, boolean (*spatial); None where the data set names none. Raises UserError."""
    if record.region is None:
        return None
    return np.asarray(_guarded(record, record.region, spatial_dims, 1, label=True).array[0] > 0)


def whole(record: Record, path: Path, array: Array) -> Array:
    """A label map as int32 or int64. Raises UserError where its values are no whole numbers."""
    if array.dtype.kind in "biu":
        return array.astype(np.int32 if np.can_cast(array.dtype, np.int32) else np.int64)
    rounded = np.rint(array)
    if not np.array_equal(rounded, array):
        what = f"label values are not whole numbers (e.g. {array[rounded != array][0]:g}); give a label map"
        raise UserError(_line(record, path, what))
    return rounded.astype(np.int64)


def _line(record: Record, path: Path, what: str) -> str:
    return f"case {record.case_id}: {path}: {what}"


def _guarded(record: Record, path: Path, spatial_dims: int, channels: int | None, label: bool = False) -> Scan:
    dims = 3 if record.slice is not None else spatial_dims
    wanted = Wanted(dims, channels, label, record.member, record.time, record.split)
    try:
        scan = _read(path, wanted)
        if record.slice is not None:
            scan = cut_slice(scan, record.slice)
        if record.window is not None:
            scan = cut_window(scan, record.window)
    except Unreadable as error:
        raise UserError(_line(record, path, str(error))) from None
    except OSError as error:
        raise UserError(_line(record, path, f"cannot be read ({error.strerror or error})")) from None
    bad = scan.array.size - int(np.count_nonzero(np.isfinite(scan.array)))
    if bad:
        what = f"{bad} of {scan.array.size} voxels are NaN or infinite; mend the file or leave the case out"
        raise UserError(_line(record, path, what))
    return scan


def _read(path: Path, wanted: Wanted) -> Scan:
    if not path.is_file():
        raise Unreadable("no such file")
    if path.stat().st_size == 0:
        raise Unreadable("is empty (0 bytes); copy it again")
    reader = READERS.get(suffix(path)) or ARRAYS.get(path.suffix.lower())
    if reader is None:
        raise Unreadable(f"cannot read this kind of file; known: {' '.join(SUFFIXES)}")
    return reader(path, wanted)
