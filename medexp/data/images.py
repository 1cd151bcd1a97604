"""Reading image files as they are: NIfTI, PNG, JPEG, BMP, GIF, TIFF, rows of .npz. Every fault names case and file."""

from __future__ import annotations

import struct
import threading
import zipfile
import zlib
from functools import lru_cache
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image, ImageSequence, UnidentifiedImageError

from medexp.data.nifti import NIFTI, read_nifti
from medexp.data.records import Record
from medexp.data.scan import Array, Scan, Unreadable, channel_first, first_line
from medexp.errors import UserError

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif")
TIFF = (".tif", ".tiff")
SUFFIXES = (*NIFTI, *PICTURES, *TIFF)
_one_at_a_time = threading.Lock()  # else every thread would unpack the same array file


def suffix(path: Path) -> str:
    """The image suffix of a file name in lower case, ".nii.gz" whole; "" where it is none that can be read."""
    name = path.name.lower()
    return next((end for end in sorted(SUFFIXES, key=len, reverse=True) if name.endswith(end)), "")


def stem(path: Path) -> str:
    """The file name without its image suffix."""
    return path.name[: -len(suffix(path))] if suffix(path) else path.stem


def read_image(record: Record, *, spatial_dims: int, channels: int | None = None) -> Scan:
    """All channels of a case: float32 (C, *spatial). Raises UserError naming the case and the file."""
    scans = [_guarded(record, path, spatial_dims, channels if len(record.images) == 1 else 1) for path in record.images]
    first = scans[0]
    for path, scan in zip(record.images, scans, strict=True):
        if scan.array.shape != first.array.shape:
            what = f"has shape {scan.array.shape[1:]}, its first channel {first.array.shape[1:]}; resample one"
            raise UserError(_line(record, path, what))
        if not np.allclose(scan.affine, first.affine, atol=1e-3):
            what = "lies elsewhere in space than the first channel (affines differ); register them first"
            raise UserError(_line(record, path, what))
    array = np.concatenate([scan.array for scan in scans]) if len(scans) > 1 else first.array
    if channels is not None and len(array) != channels:
        what = f"has {len(array)} channels, dataset.in_channels is {channels}; set one to fit"
        raise UserError(_line(record, record.images[0], what))
    return Scan(array, first.affine, first.spacing)


def read_label(record: Record, *, spatial_dims: int) -> Scan:
    """The label map of a case: integer (*spatial). Raises UserError naming the case and the file."""
    if record.label is None:
        raise UserError(f"case {record.case_id}: has no label map; leave it out or choose a dataset with label maps")
    scan = _guarded(record, record.label, spatial_dims, 1, label=True)
    array = scan.array[0]
    if array.dtype.kind in "biu":
        kind = np.int32 if np.can_cast(array.dtype, np.int32) else np.int64
        return Scan(array.astype(kind), scan.affine, scan.spacing)
    whole = np.rint(array)
    if not np.array_equal(whole, array):
        what = f"label values are not whole numbers (e.g. {array[whole != array][0]:g}); give a label map"
        raise UserError(_line(record, record.label, what))
    return Scan(whole.astype(np.int64), scan.affine, scan.spacing)


def _line(record: Record, path: Path, what: str) -> str:
    return f"case {record.case_id}: {path}: {what}"


def _guarded(record: Record, path: Path, spatial_dims: int, channels: int | None, label: bool = False) -> Scan:
    try:
        scan = _read(record, path, spatial_dims, channels, label)
    except Unreadable as error:
        raise UserError(_line(record, path, str(error))) from None
    except OSError as error:
        raise UserError(_line(record, path, f"cannot be read ({error.strerror or error})")) from None
    bad = scan.array.size - int(np.count_nonzero(np.isfinite(scan.array)))
    if bad:
        what = f"{bad} of {scan.array.size} voxels are NaN or infinite; mend the file or leave the case out"
        raise UserError(_line(record, path, what))
    return scan


def _read(record: Record, path: Path, spatial_dims: int, channels: int | None, label: bool) -> Scan:
    if not path.is_file():
        raise Unreadable("no such file")
    if path.stat().st_size == 0:
        raise Unreadable("is empty (0 bytes); copy it again")
    if path.suffix == ".npz":
        return _flat(_member(path, record, spatial_dims), spatial_dims, channels)
    kind = suffix(path)
    if kind in NIFTI:
        return read_nifti(path, spatial_dims, channels, label)
    if kind in TIFF:
        return _flat(_tiff(path, spatial_dims), spatial_dims, channels, label)
    if kind in PICTURES:
        return _flat(_picture(path, label), spatial_dims, channels, label)
    raise Unreadable(f"cannot read this kind of file; known: {' '.join(SUFFIXES)}")


def _picture(path: Path, label: bool) -> Array:
    """(rows, columns) or (rows, columns, 3); transparency is dropped. A label map's palette entries are its classes."""
    try:
        with Image.open(path) as picture:
            frames = getattr(picture, "n_frames", 1)
            if frames > 1:
                raise Unreadable(f"holds {frames} frames where one is expected; save each as a file of its own")
            picture.load()
            if picture.mode in ("P", "PA", "RGBA", "LA", "CMYK", "YCbCr") and not (label and picture.mode == "P"):
                picture = picture.convert("L" if picture.mode == "LA" else "RGB")  # type: ignore[assignment]
            return np.asarray(picture)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise Unreadable(f"is too large a picture ({error})") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error) as error:
        raise Unreadable(f"cannot be read as an image ({first_line(error)}); copy it again") from None


def _tiff(path: Path, spatial_dims: int) -> Array:
    """(rows, columns[, C]), or (rows, columns, pages[, C]) of a stack."""
    try:
        with tifffile.TiffFile(path) as file:
            series = file.series
            if len(series) > 1:
                raise Unreadable(f"holds {len(series)} images of different kinds; save each as a file of its own")
            axes = series[0].axes
            try:
                array = series[0].asarray()
            except ValueError as error:  # LZW and JPEG: PIL knows them without the imagecodecs package
                if "imagecodecs" not in str(error):
                    raise
                array = _tiff_pages(path)
    except Unreadable:
        raise
    except Exception as error:  # tifffile raises many kinds for a broken file
        raise Unreadable(f"cannot be read as TIFF ({first_line(error)}); copy it again") from None
    colour = max(axes.find("S"), axes.find("C"))
    if colour >= 0 and len(axes) == array.ndim == spatial_dims + 1:
        array = np.moveaxis(array, colour, -1)
    if spatial_dims == 3 and array.ndim >= 3:
        return np.moveaxis(array, 0, 2)  # pages become the third axis
    return np.asarray(array)


def _tiff_pages(path: Path) -> Array:
    with Image.open(path) as file:
        pages = [np.asarray(page) for page in ImageSequence.Iterator(file)]
    return pages[0] if len(pages) == 1 else np.stack(pages)


@lru_cache(maxsize=8)
def _arrays(path: Path, key: str) -> Array:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return np.asarray(arrays[key])


def _member(path: Path, record: Record, spatial_dims: int) -> Array:
    try:
        with _one_at_a_time:
            array = _arrays(path, f"{record.split}_images")
        return np.array(array[record.member])  # a copy: the file stays in memory for the next row
    except (LookupError, OSError, ValueError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile) as error:
        raise Unreadable(f"row {record.member} of {record.split}_images cannot be read ({error})") from None


def _flat(pixels: Array, spatial_dims: int, channels: int | None, label: bool = False) -> Scan:
    """An image without a place in space: unit spacing. RGB becomes grey for one channel, grey is repeated for three."""
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8)
    if pixels.ndim == spatial_dims + 1 and pixels.shape[-1] in (3, 4) and channels != pixels.shape[-1]:
        pixels = pixels[..., :3]
        if label and (pixels != pixels[..., :1]).any():
            raise Unreadable("is a colour picture, not a label map; save class indices as grey values")
        if channels == 1:  # ITU-R BT.601 luma, as PIL's "L"
            weights = np.asarray([0.299, 0.587, 0.114])
            pixels = pixels[..., 0] if label else pixels @ weights
    array = channel_first(pixels if label else np.asarray(pixels, dtype=np.float32), spatial_dims, channels)
    if channels == 3 and len(array) == 1:
        array = np.repeat(array, 3, axis=0)
    return Scan(array, np.eye(4), (1.0,) * spatial_dims)
