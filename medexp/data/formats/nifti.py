"""NIfTI volumes as they are stored, read to the last byte.

nibabel does not verify the checksum of a gzip stream, so a flipped bit would load in silence: streams are read to their
end here, where Python's gzip compares it, and nibabel is handed the bytes.
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from medexp.data.formats.scan import Array, Scan, Unreadable, Wanted, at_time, channel_first, first_line

NIFTI = (".nii", ".nii.gz")
LARGEST = 64 * 2**30  # bytes of one decompressed file; more is taken for a decompression bomb
DEFLATE = 1032  # deflate packs no tighter than this (zlib.net/zlib_tech.html): a file's size bounds what it holds
SLACK = 2**20  # bytes allowed after the voxels that a header announces
HEAD = 540  # bytes of the larger one of NIfTI's headers
FLAT = 1e-6  # volume that three axes of length 1 span, below which they lie in one plane but for rounding to float32


def read_nifti(path: Path, wanted: Wanted) -> Scan:
    """Image (C, *spatial), float32, or label map (1, *spatial) in its own type. Raises Unreadable."""
    content = _bytes(path)
    kind = nib.Nifti1Image if _sized(content)[0] is nib.Nifti1Header else nib.Nifti2Image
    try:
        image = kind.from_bytes(content)
    except Exception as error:  # nibabel raises many kinds for a broken header
        raise Unreadable(f"is no NIfTI file ({first_line(error)}); copy it again") from None
    needed = math.prod(map(int, image.shape)) * image.get_data_dtype().itemsize
    have = len(content) - int(image.dataobj.offset)  # type: ignore[attr-defined]
    if have < needed:
        raise Unreadable(f"is truncated: {max(have, 0)} of {needed} bytes of voxels; copy it again")
    affine = _placed(image.header)
    voxels = np.asarray(image.dataobj, dtype=None if wanted.label else np.float32)
    spacing = tuple(float(size) for size in nib.affines.voxel_sizes(affine))[: wanted.spatial_dims]
    return Scan(channel_first(at_time(voxels, wanted), wanted), affine, spacing)


def nifti_header(path: Path) -> tuple[tuple[int, ...], Array]:
    """Shape and affine; no voxel is read. Raises Unreadable, as reading the volume would for what its header says."""
    with _opened(path) as stream:
        head = stream.read(HEAD)
        _announced(head, path)
    kind, order = _sized(head)
    try:
        header = kind(head[: kind.sizeof_hdr], order)
    except Exception as error:  # nibabel raises many kinds for a broken header
        raise Unreadable(f"is no NIfTI file ({first_line(error)}); copy it again") from None
    return tuple(map(int, header.get_data_shape())), _placed(header)


def singular(affine: Array) -> bool:
    """Whether a (4, 4) is not finite, or its axes span no volume: judged by their directions, as small voxels are no fault."""
    axes = affine[:3, :3]
    if not np.isfinite(affine).all() or not np.abs(axes).max(axis=0).all():
        return True
    axes = axes / np.abs(axes).max(axis=0)  # no square of it overflows or vanishes
    return bool(abs(np.linalg.det(axes / np.linalg.norm(axes, axis=0))) < FLAT)


def _placed(header: Any) -> Array:
    """The affine of a header whose voxels are numbers that lie somewhere. Raises Unreadable."""
    dtype = header.get_data_dtype()
    if dtype.kind not in "iufb":
        raise Unreadable(f"holds {dtype} voxels; real numbers are needed")
    try:
        affine = np.asarray(header.get_best_affine(), dtype=np.float64)
    except Exception as error:  # of a qform that is no rotation
        raise Unreadable(f"its affine cannot be read ({first_line(error)}); mend the header") from None
    if singular(affine):
        raise Unreadable("its affine is singular or not finite; mend the header")
    return affine


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The file's bytes, unpacked. Raises Unreadable for what gzip finds while they are read."""
    try:
        with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as stream:
            yield stream
    except gzip.BadGzipFile as error:
        with path.open("rb") as plain:
            _refuse_page(plain.read(64))
        raise Unreadable(f"is damaged: {error}; copy it again") from None
    except EOFError:
        raise Unreadable("is truncated (the gzip stream ends early); copy it again") from None
    except zlib.error as error:
        raise Unreadable(f"is damaged ({error}); copy it again") from None


def _bytes(path: Path) -> bytes:
    """The whole file, unpacked; what its header announces bounds how much of it is ever held."""
    with _opened(path) as stream:
        needed = _announced(stream.read(HEAD), path)
        stream.seek(0)
        content: bytes = stream.read(needed + SLACK + 1)
    if len(content) > needed + SLACK:
        raise Unreadable(f"goes on beyond the {needed} bytes that its header announces; it is damaged or no scan")
    return content


def _sized(head: bytes) -> tuple[Any, str]:
    """Which header it is, by the size that it begins with, and its byte order. Raises Unreadable."""
    for kind in (nib.Nifti1Header, nib.Nifti2Header):
        for order, sign in (("little", "<"), ("big", ">")):
            if int.from_bytes(head[:4], order) == kind.sizeof_hdr <= len(head):  # type: ignore[arg-type]
                return kind, sign
    hint = "it is gzip: name it .nii.gz" if head[:2] == b"\x1f\x8b" else "copy it again"
    raise Unreadable(f"is no NIfTI file (it has no whole header); {hint}")


def _announced(head: bytes, path: Path) -> int:
    """Bytes of the unpacked file, by its header; nothing is loaded. Raises Unreadable where it cannot hold as many."""
    _refuse_page(head)
    kind, order = _sized(head)
    try:
        header = kind(head[: kind.sizeof_hdr], order, check=False)
        axes, code, offset = int(header["dim"][0]), int(header["datatype"]), int(header["vox_offset"])
    except Exception as error:  # nibabel and numpy raise many kinds for a broken header
        raise Unreadable(f"is no NIfTI file ({first_line(error)}); copy it again") from None
    if not 0 <= axes <= 7:
        raise Unreadable(f"its header claims {axes} axes (dim[0]); NIfTI has 1 to 7: copy it again")
    if code not in nib.nifti1.data_type_codes.code:
        raise Unreadable(f"its header claims the data type {code}, which NIfTI does not know; copy it again")
    shape = tuple(map(int, header.get_data_shape()))
    if any(n < 1 for n in shape) or not shape:
        raise Unreadable(f"its header claims the shape {shape}; copy it again")
    needed = max(offset, 0) + math.prod(shape) * int(header.get_data_dtype().itemsize)
    if needed > LARGEST:
        raise Unreadable(f"its header announces {needed / 2**30:.0f} GiB; it is no scan")
    if needed > path.stat().st_size * (DEFLATE if path.name.lower().endswith(".gz") else 1):
        raise Unreadable(f"is truncated: its header announces {needed} bytes, more than it holds; copy it again")
    return needed


def _refuse_page(head: bytes) -> None:
    if head.lstrip().lower().startswith((b"<!doctype", b"<html")):
        raise Unreadable("is a web page, not an image; download it again")
