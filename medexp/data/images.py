"""The images and label map of a case, whatever their formats. Every fault names case and file."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from medexp.data.formats import metaimage
from medexp.data.formats.arrays import IDX, read_idx, read_npz
from medexp.data.formats.metaimage import METAIMAGE, metaimage_header, read_metaimage
from medexp.data.formats.nifti import NIFTI, nifti_header, read_nifti
from medexp.data.formats.objects import read_objects
from medexp.data.formats.part import cut_slice, cut_window
from medexp.data.formats.picture import PICTURES, TIFF, read_picture, read_tiff
from medexp.data.formats.scan import Array, Scan, Unreadable, Wanted
from medexp.data.records import Record
from medexp.errors import UserError

Reader = Callable[[Path, Wanted], Scan]
_one_at_a_time = threading.Lock()  # else every thread would unpack the same volume
NRRD, DICOM = (".nrrd", ".nhdr"), (".dcm",)
SUFFIXES = (*NIFTI, *PICTURES, *TIFF, *METAIMAGE, *NRRD, *DICOM)
ENDS = tuple(sorted(SUFFIXES, key=len, reverse=True))  # ".nii.gz" before ".gz" would be
PLACED = (*NIFTI, *METAIMAGE, *NRRD)  # formats that say where a scan lies in space


def suffix(path: Path) -> str:
    """The image suffix of a file name in lower case, ".nii.gz" whole; "" where it is none that can be read."""
    name = path.name.lower()
    return next((end for end in ENDS if name.endswith(end)), "")


def stem(path: Path) -> str:
    """The file name without its image suffix."""
    return path.name[: -len(suffix(path))] if suffix(path) else path.stem


@dataclass(frozen=True)
class Header:
    """Shape (*spatial, perhaps time or channels last) and affine of a case's first image."""

    shape: tuple[int, ...]
    affine: Array


def header(record: Record) -> Header:
    """What the first image of a case says of itself; voxels are read only where the format has no header of its own.
    Raises UserError."""
    path = record.files[0]
    try:
        if suffix(path) in NIFTI:
            return Header(*nifti_header(path))
        if suffix(path) in METAIMAGE:
            return Header(*metaimage_header(path))
        if suffix(path) in NRRD:
            from medexp.data.formats.nrrd import nrrd_header

            return Header(*nrrd_header(path))
        if path.is_dir() or suffix(path) in DICOM:
            from medexp.data.formats.dicom import dicom_header

            return Header(*dicom_header(path, None if record.member is None else str(record.member)))
        scan = _read(path, Wanted(3, 1, member=record.member, split=record.split))
        return Header(scan.array.shape[1:], scan.affine)
    except OSError as error:
        raise UserError(_line(record, path, f"cannot be read ({error.strerror or error})")) from None
    except Unreadable as error:
        raise UserError(_line(record, path, str(error))) from None


def voxel_file(path: Path) -> Path:
    """The file that holds the voxels: another one where a header stands alone (.mhd, .nhdr). Raises Unreadable, OSError."""
    if path.name.lower().endswith(".mhd"):
        return metaimage.voxel_file(path)
    if path.name.lower().endswith(".nhdr"):
        from medexp.data.formats import nrrd

        return nrrd.voxel_file(path)
    return path


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
    made = 1 if record.slice is None else 2 * record.slice.neighbours + 1  # channels that one of a file becomes
    if channels is not None and len(array) != channels * made:
        what = f"has {len(array) // made} channels, dataset.in_channels is {channels}; set one to fit"
        raise UserError(_line(record, record.files[0], what))
    missing = tuple(place * made + i for place in record.missing for i in range(made))
    return Scan(array, first.affine, first.spacing, missing)


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
        whole_file = record.slice is None and record.window is None
        scan = _read(path, wanted) if whole_file else _part(path, wanted, record)
    except Unreadable as error:
        raise UserError(_line(record, path, str(error))) from None
    except OSError as error:
        raise UserError(_line(record, path, f"cannot be read ({error.strerror or error})")) from None
    bad = scan.array.size - int(np.count_nonzero(np.isfinite(scan.array)))
    if bad:
        what = f"{bad} of {scan.array.size} voxels are NaN or infinite; mend the file or leave the case out"
        raise UserError(_line(record, path, what))
    return scan


def _part(path: Path, wanted: Wanted, record: Record) -> Scan:
    """A slice or a window. The neighbours that are read next are parts of the same volume, so it stays in memory."""
    if not path.exists():
        raise Unreadable("no such file")
    if record.window is not None and suffix(path) in METAIMAGE and record.slice is None:
        return read_metaimage(path, wanted, record.window)  # voxels elsewhere are not read at all
    with _one_at_a_time:
        scan = _volume(path, path.stat().st_mtime_ns, wanted)
    if record.slice is not None:
        scan = cut_slice(scan, replace(record.slice, neighbours=0) if wanted.label else record.slice)
    return scan if record.window is None else cut_window(scan, record.window)


@lru_cache(maxsize=4)  # images and label maps of the volume at hand, and of the next
def _volume(path: Path, changed: int, wanted: Wanted) -> Scan:
    return _read(path, wanted)


def _read(path: Path, wanted: Wanted) -> Scan:
    if path.is_dir():
        return _folder_reader(wanted)(path, wanted)
    if not path.is_file():
        raise Unreadable("no such file")
    if path.stat().st_size == 0:
        raise Unreadable("is empty (0 bytes); copy it again")
    return _reader(path)(path, wanted)


def _folder_reader(wanted: Wanted) -> Reader:
    """A folder of masks, one an object, or of the files of a DICOM series."""
    if wanted.label:
        return read_objects
    from medexp.data.formats.dicom import read_dicom

    return read_dicom


def _reader(path: Path) -> Reader:
    """By suffix; what has none that is known may be DICOM. Libraries that few data sets need are imported then."""
    kind, name = suffix(path), path.name.lower()
    if kind in NIFTI:
        return read_nifti
    if kind in PICTURES:
        return read_picture
    if kind in TIFF:
        return read_tiff
    if kind in METAIMAGE:
        return read_metaimage
    if kind in NRRD:
        from medexp.data.formats.nrrd import read_nrrd

        return read_nrrd
    if name.endswith(".npz"):
        return read_npz
    if name.endswith(IDX):
        return read_idx
    from medexp.data.formats.dicom import read_dicom
    from medexp.data.formats.dicom_header import looks_dicom

    if kind in DICOM or looks_dicom(path):
        return read_dicom
    raise Unreadable(f"cannot read this kind of file; known: {' '.join(SUFFIXES)}")
