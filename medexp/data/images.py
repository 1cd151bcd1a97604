"""Reading image files as they are: NIfTI, PNG, JPEG, BMP, GIF, TIFF, rows of .npz. Every fault names case and file.

nibabel does not verify the checksum of a gzip stream, so a flipped bit would load in silence: streams are read to their
end here, where Python's gzip compares it, and nibabel is handed the bytes.
"""

from __future__ import annotations

import gzip
import math
import struct
import threading
import zipfile
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import tifffile
from PIL import Image, ImageSequence, UnidentifiedImageError

from medexp.data.records import Record
from medexp.errors import UserError

Array = np.ndarray[Any, Any]
NIFTI = (".nii", ".nii.gz")
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif")
TIFF = (".tif", ".tiff")
SUFFIXES = (*NIFTI, *PICTURES, *TIFF)
LARGEST = 64 * 2**30  # bytes of one decompressed file; more is taken for a decompression bomb
DEFLATE = 1032  # deflate packs no tighter than this (zlib.net/zlib_tech.html): a file's size bounds what it holds
SLACK = 2**20  # bytes allowed after the voxels that a header announces
_one_at_a_time = threading.Lock()  # else every thread would unpack the same array file


@dataclass(frozen=True)
class Scan:
    """One image or label map as its file holds it.

    array: float32 (C, *spatial) of an image, integer (*spatial) of a label map. affine: (4, 4), voxel to mm.
    spacing: mm a voxel along each spatial axis (1 where the format knows none).
    """

    array: Array
    affine: Array
    spacing: tuple[float, ...]


class _Unreadable(Exception):
    """What is wrong with a file; the caller adds case and name."""


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


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _guarded(record: Record, path: Path, spatial_dims: int, channels: int | None, label: bool = False) -> Scan:
    try:
        scan = _read(record, path, spatial_dims, channels, label)
    except _Unreadable as error:
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
        raise _Unreadable("no such file")
    if path.stat().st_size == 0:
        raise _Unreadable("is empty (0 bytes); copy it again")
    if path.suffix == ".npz":
        return _flat(_member(path, record, spatial_dims), spatial_dims, channels)
    kind = suffix(path)
    if kind in NIFTI:
        return _nifti(path, spatial_dims, channels, label)
    if kind in TIFF:
        return _flat(_tiff(path, spatial_dims), spatial_dims, channels, label)
    if kind in PICTURES:
        return _flat(_picture(path, label), spatial_dims, channels, label)
    raise _Unreadable(f"cannot read this kind of file; known: {' '.join(SUFFIXES)}")


def _bytes(path: Path) -> bytes:
    """The whole file, unpacked; what its header announces bounds how much of it is ever held."""
    packed = path.name.lower().endswith(".gz")
    try:
        with gzip.open(path) if packed else path.open("rb") as stream:
            needed = _announced(stream.read(544))
            if needed > LARGEST:
                raise _Unreadable(f"its header announces {needed / 2**30:.0f} GiB; it is no scan")
            if needed > path.stat().st_size * (DEFLATE if packed else 1):
                raise _Unreadable(
                    f"is truncated: its header announces {needed} bytes, more than it holds; copy it again"
                )
            stream.seek(0)
            content = stream.read(needed + SLACK + 1)
    except gzip.BadGzipFile as error:
        with path.open("rb") as plain:
            _refuse_page(plain.read(64))
        raise _Unreadable(f"is damaged: {error}; copy it again") from None
    except EOFError:
        raise _Unreadable("is truncated (the gzip stream ends early); copy it again") from None
    except zlib.error as error:
        raise _Unreadable(f"is damaged ({error}); copy it again") from None
    if len(content) > needed + SLACK:
        raise _Unreadable(f"goes on beyond the {needed} bytes that its header announces; it is damaged or no scan")
    return content


def _announced(head: bytes) -> int:
    """Bytes of the file, by its header; nothing is loaded."""
    _refuse_page(head)
    kind = {348: nib.Nifti1Header, 540: nib.Nifti2Header}
    size = next((n for order in ("little", "big") if (n := int.from_bytes(head[:4], order)) in kind), 0)
    if not size or len(head) < size:
        hint = "it is gzip: name it .nii.gz" if head[:2] == b"\x1f\x8b" else "copy it again"
        raise _Unreadable(f"is no NIfTI file (it has no whole header); {hint}")
    try:
        header = kind[size](head[:size], check=False)
        shape, dtype, offset = header.get_data_shape(), header.get_data_dtype(), int(header["vox_offset"])
    except Exception as error:  # nibabel and numpy raise many kinds for a broken header
        raise _Unreadable(f"is no NIfTI file ({_first_line(error)}); copy it again") from None
    if any(n < 1 for n in shape) or not shape:
        raise _Unreadable(f"its header claims the shape {tuple(map(int, shape))}; copy it again")
    return max(offset, 0) + math.prod(map(int, shape)) * dtype.itemsize


def _refuse_page(head: bytes) -> None:
    if head.lstrip().lower().startswith((b"<!doctype", b"<html")):
        raise _Unreadable("is a web page, not an image; download it again")


def _nifti(path: Path, spatial_dims: int, channels: int | None, label: bool) -> Scan:
    content = _bytes(path)
    kind = nib.Nifti2Image if content[:4] in (b"\x1c\x02\x00\x00", b"\x00\x00\x02\x1c") else nib.Nifti1Image
    try:
        image = kind.from_bytes(content)
    except Exception as error:  # nibabel raises many kinds for a broken header
        raise _Unreadable(f"is no NIfTI file ({_first_line(error)}); copy it again") from None
    shape, dtype = image.shape, image.get_data_dtype()
    if dtype.kind not in "iufb":
        raise _Unreadable(f"holds {dtype} voxels; real numbers are needed")
    needed = math.prod(map(int, shape)) * dtype.itemsize
    have = len(content) - int(image.dataobj.offset)  # type: ignore[attr-defined]
    if have < needed:
        raise _Unreadable(f"is truncated: {max(have, 0)} of {needed} bytes of voxels; copy it again")
    affine = np.asarray(image.affine, dtype=np.float64)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
        raise _Unreadable("its affine is singular or not finite; mend the header")
    voxels = np.asarray(image.dataobj, dtype=None if label else np.float32)
    spacing = tuple(float(size) for size in nib.affines.voxel_sizes(affine))[:spatial_dims]
    return Scan(_channel_first(voxels, spatial_dims, channels), affine, spacing)


def _channel_first(voxels: Array, spatial_dims: int, channels: int | None) -> Array:
    """(*spatial) or (*spatial, C) to (C, *spatial); trailing axes of 1 are dropped."""
    while voxels.ndim > spatial_dims and voxels.shape[-1] == 1:
        voxels = voxels[..., 0]
    if voxels.ndim == spatial_dims:
        return np.ascontiguousarray(voxels)[None]
    if voxels.ndim == spatial_dims + 1 and channels is not None and voxels.shape[-1] == channels:
        return np.ascontiguousarray(np.moveaxis(voxels, -1, 0))
    seen = f"is {voxels.ndim}D {voxels.shape} where {spatial_dims}D is expected"
    raise _Unreadable(f"{seen}; set dataset.spatial_dims or dataset.in_channels")


def _picture(path: Path, label: bool) -> Array:
    """(rows, columns) or (rows, columns, 3); transparency is dropped. A label map's palette entries are its classes."""
    try:
        with Image.open(path) as picture:
            frames = getattr(picture, "n_frames", 1)
            if frames > 1:
                raise _Unreadable(f"holds {frames} frames where one is expected; save each as a file of its own")
            picture.load()
            if picture.mode in ("P", "PA", "RGBA", "LA", "CMYK", "YCbCr") and not (label and picture.mode == "P"):
                picture = picture.convert("L" if picture.mode == "LA" else "RGB")  # type: ignore[assignment]
            return np.asarray(picture)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _Unreadable(f"is too large a picture ({error})") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error) as error:
        raise _Unreadable(f"cannot be read as an image ({_first_line(error)}); copy it again") from None


def _tiff(path: Path, spatial_dims: int) -> Array:
    """(rows, columns[, C]), or (rows, columns, pages[, C]) of a stack."""
    try:
        with tifffile.TiffFile(path) as file:
            series = file.series
            if len(series) > 1:
                raise _Unreadable(f"holds {len(series)} images of different kinds; save each as a file of its own")
            axes = series[0].axes
            try:
                array = series[0].asarray()
            except ValueError as error:  # LZW and JPEG: PIL knows them without the imagecodecs package
                if "imagecodecs" not in str(error):
                    raise
                array = _tiff_pages(path)
    except _Unreadable:
        raise
    except Exception as error:  # tifffile raises many kinds for a broken file
        raise _Unreadable(f"cannot be read as TIFF ({_first_line(error)}); copy it again") from None
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
        return np.asarray(array[record.member])
    except (LookupError, OSError, ValueError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile) as error:
        raise _Unreadable(f"row {record.member} of {record.split}_images cannot be read ({error})") from None


def _flat(pixels: Array, spatial_dims: int, channels: int | None, label: bool = False) -> Scan:
    """An image without a place in space: unit spacing. RGB becomes grey for one channel, grey is repeated for three."""
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8)
    if pixels.ndim == spatial_dims + 1 and pixels.shape[-1] in (3, 4) and channels != pixels.shape[-1]:
        pixels = pixels[..., :3]
        if label and (pixels != pixels[..., :1]).any():
            raise _Unreadable("is a colour picture, not a label map; save class indices as grey values")
        if channels == 1:  # ITU-R BT.601 luma, as PIL's "L"
            weights = np.asarray([0.299, 0.587, 0.114])
            pixels = pixels[..., 0] if label else pixels @ weights
    array = _channel_first(pixels if label else np.asarray(pixels, dtype=np.float32), spatial_dims, channels)
    if channels == 3 and len(array) == 1:
        array = np.repeat(array, 3, axis=0)
    return Scan(array, np.eye(4), (1.0,) * spatial_dims)
