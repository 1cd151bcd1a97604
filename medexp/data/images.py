"""Reading image files as they are: NIfTI, PNG, JPEG, BMP, GIF, TIFF, rows of .npz. Every fault names the case and the file.

nibabel does not verify the checksum of a gzip stream, so a flipped bit would load in silence: streams are read to their
end here, where Python's gzip compares it, and nibabel is handed the bytes.
"""

from __future__ import annotations

import gzip
import warnings
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import tifffile
from PIL import Image, UnidentifiedImageError

from medexp.data.records import Record
from medexp.errors import UserError

Array = np.ndarray[Any, Any]
NIFTI = (".nii", ".nii.gz")
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif")
TIFF = (".tif", ".tiff")
SUFFIXES = (*NIFTI, *PICTURES, *TIFF)
LARGEST = 16 * 2**30  # bytes of one decompressed file; more is taken for a decompression bomb


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
            raise UserError(_line(record, path, f"has shape {scan.array.shape[1:]}, its first channel {first.array.shape[1:]}; resample one"))
        if not np.allclose(scan.affine, first.affine, atol=1e-3):
            raise UserError(_line(record, path, "lies elsewhere in space than the first channel (affines differ); register them first"))
    array = np.concatenate([scan.array for scan in scans]) if len(scans) > 1 else first.array
    if channels is not None and len(array) != channels:
        raise UserError(_line(record, record.images[0], f"has {len(array)} channels, dataset.in_channels is {channels}; set one to fit"))
    return Scan(array, first.affine, first.spacing)


def read_label(record: Record, *, spatial_dims: int) -> Scan:
    """The label map of a case: integer (*spatial). Raises UserError naming the case and the file."""
    if record.label is None:
        raise UserError(f"case {record.case_id}: has no label map; leave it out or choose a dataset with label maps")
    scan = _guarded(record, record.label, spatial_dims, 1)
    array = scan.array[0]
    whole = np.rint(array)
    if not np.array_equal(whole, array):
        raise UserError(_line(record, record.label, f"label values are not whole numbers (e.g. {array[whole != array][0]:g}); give a label map"))
    return Scan(whole.astype(np.int32), scan.affine, scan.spacing)


def _line(record: Record, path: Path, what: str) -> str:
    return f"case {record.case_id}: {path}: {what}"


def _guarded(record: Record, path: Path, spatial_dims: int, channels: int | None) -> Scan:
    try:
        scan = _read(record, path, spatial_dims, channels)
    except _Unreadable as error:
        raise UserError(_line(record, path, str(error))) from None
    bad = scan.array.size - int(np.count_nonzero(np.isfinite(scan.array)))
    if bad:
        raise UserError(_line(record, path, f"{bad} of {scan.array.size} voxels are NaN or infinite; mend the file or leave the case out"))
    return scan


def _read(record: Record, path: Path, spatial_dims: int, channels: int | None) -> Scan:
    if not path.is_file():
        raise _Unreadable("no such file")
    if path.stat().st_size == 0:
        raise _Unreadable("is empty (0 bytes); copy it again")
    if path.suffix == ".npz":
        return _flat(_member(path, record, spatial_dims), spatial_dims, channels)
    kind = suffix(path)
    if kind in NIFTI:
        return _nifti(path, spatial_dims, channels)
    if kind in TIFF:
        return _flat(_tiff(path, spatial_dims), spatial_dims, channels)
    if kind in PICTURES:
        return _flat(_picture(path), spatial_dims, channels)
    raise _Unreadable(f"cannot read this kind of file; known: {' '.join(SUFFIXES)}")


def _bytes(path: Path) -> bytes:
    if not path.name.lower().endswith(".gz"):
        return path.read_bytes()
    try:
        with gzip.open(path) as stream:
            content = stream.read(LARGEST + 1)
    except gzip.BadGzipFile as error:
        start = path.open("rb").read(64).lstrip().lower()
        page = start.startswith((b"<!doctype", b"<html"))
        raise _Unreadable("is a web page, not an image; download it again" if page else f"damaged: {error}; copy it again") from None
    except EOFError:
        raise _Unreadable("is truncated (the gzip stream ends early); copy it again") from None
    except zlib.error as error:
        raise _Unreadable(f"is damaged ({error}); copy it again") from None
    if len(content) > LARGEST:
        raise _Unreadable(f"unpacks to more than {LARGEST // 2**30} GiB; it is no scan")
    return content


def _nifti(path: Path, spatial_dims: int, channels: int | None) -> Scan:
    content = _bytes(path)
    kind = nib.Nifti2Image if content[:4] in (b"\x1c\x02\x00\x00", b"\x00\x00\x02\x1c") else nib.Nifti1Image
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = kind.from_bytes(content)
    except Exception as error:  # nibabel raises many kinds for a broken header
        raise _Unreadable(f"is no NIfTI file ({str(error).splitlines()[0]}); copy it again") from None
    shape, dtype = image.shape, image.get_data_dtype()
    if any(size < 1 for size in shape) or not shape:
        raise _Unreadable(f"its header claims the shape {tuple(map(int, shape))}")
    if dtype.kind not in "iufb":
        raise _Unreadable(f"holds {dtype} voxels; real numbers are needed")
    needed = int(np.prod([int(size) for size in shape], dtype=object)) * dtype.itemsize
    have = len(content) - int(image.dataobj.offset)
    if have < needed:
        raise _Unreadable(f"is truncated: {max(have, 0)} of {needed} bytes of voxels; copy it again")
    affine = np.asarray(image.affine, dtype=np.float64)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
        raise _Unreadable("its affine is singular or not finite; mend the header")
    voxels = np.asarray(image.dataobj, dtype=np.float32)
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
    raise _Unreadable(f"is {voxels.ndim}D {voxels.shape} where {spatial_dims}D is expected; set dataset.spatial_dims or dataset.in_channels")


def _picture(path: Path) -> Array:
    """(rows, columns) or (rows, columns, 3); transparency is dropped."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                picture.load()
                if picture.mode in ("P", "PA", "RGBA", "LA", "CMYK", "YCbCr"):
                    picture = picture.convert("L" if picture.mode == "LA" else "RGB")  # type: ignore[assignment]
                return np.asarray(picture)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise _Unreadable(f"cannot be read as an image ({str(error).splitlines()[0]}); copy it again") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _Unreadable(f"is too large a picture ({error})") from None


def _tiff(path: Path, spatial_dims: int) -> Array:
    try:
        array = tifffile.imread(path)
    except Exception as error:  # tifffile raises many kinds for a broken file
        raise _Unreadable(f"cannot be read as TIFF ({(str(error) or type(error).__name__).splitlines()[0]}); copy it again") from None
    if spatial_dims == 3 and array.ndim >= 3:
        return np.moveaxis(array, 0, 2)  # pages become the third axis
    return np.asarray(array)


@lru_cache(maxsize=8)
def _arrays(path: Path, key: str) -> Array:
    with np.load(path, allow_pickle=False) as arrays:
        return np.asarray(arrays[key])


def _member(path: Path, record: Record, spatial_dims: int) -> Array:
    try:
        return np.asarray(_arrays(path, f"{record.split}_images")[record.member])
    except (KeyError, IndexError, OSError, ValueError, EOFError, zlib.error) as error:
        raise _Unreadable(f"row {record.member} of {record.split}_images cannot be read ({error})") from None


def _flat(pixels: Array, spatial_dims: int, channels: int | None) -> Scan:
    """An image without a place in space: unit spacing. RGB becomes grey for one channel, grey is repeated for three."""
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8)
    if pixels.ndim == spatial_dims + 1 and pixels.shape[-1] in (3, 4):
        pixels = pixels[..., :3].astype(np.float32)
        if channels == 1:  # ITU-R BT.601 luma, as PIL's "L"
            pixels = pixels @ np.asarray([0.299, 0.587, 0.114], dtype=np.float32)
    array = _channel_first(np.asarray(pixels, dtype=np.float32), spatial_dims, channels)
    if channels == 3 and len(array) == 1:
        array = np.repeat(array, 3, axis=0)
    return Scan(array, np.eye(4), (1.0,) * spatial_dims)
