"""NIfTI volumes as they are stored, read to the last byte.

nibabel does not verify the checksum of a gzip stream, so a flipped bit would load in silence: streams are read to their
end here, where Python's gzip compares it, and nibabel is handed the bytes.
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from medexp.data.formats.scan import Array, Scan, Unreadable, Wanted, at_time, channel_first, first_line

NIFTI = (".nii", ".nii.gz")
LARGEST = 64 * 2**30  # bytes of one decompressed file; more is taken for a decompression bomb
DEFLATE = 1032  # deflate packs no tighter than this (zlib.net/zlib_tech.html): a file's size bounds what it holds
SLACK = 2**20  # bytes allowed after the voxels that a header announces


def read_nifti(path: Path, wanted: Wanted) -> Scan:
    """Image (C, *spatial), float32, or label map (1, *spatial) in its own type. Raises Unreadable."""
    content = _bytes(path)
    kind = nib.Nifti2Image if content[:4] in (b"\x1c\x02\x00\x00", b"\x00\x00\x02\x1c") else nib.Nifti1Image
    try:
        image = kind.from_bytes(content)
    except Exception as error:  # nibabel raises many kinds for a broken header
        raise Unreadable(f"is no NIfTI file ({first_line(error)}); copy it again") from None
    shape, dtype = image.shape, image.get_data_dtype()
    if dtype.kind not in "iufb":
        raise Unreadable(f"holds {dtype} voxels; real numbers are needed")
    needed = math.prod(map(int, shape)) * dtype.itemsize
    have = len(content) - int(image.dataobj.offset)  # type: ignore[attr-defined]
    if have < needed:
        raise Unreadable(f"is truncated: {max(have, 0)} of {needed} bytes of voxels; copy it again")
    affine = np.asarray(image.affine, dtype=np.float64)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
        raise Unreadable("its affine is singular or not finite; mend the header")
    voxels = np.asarray(image.dataobj, dtype=None if wanted.label else np.float32)
    spacing = tuple(float(size) for size in nib.affines.voxel_sizes(affine))[: wanted.spatial_dims]
    return Scan(channel_first(at_time(voxels, wanted), wanted), affine, spacing)


def nifti_header(path: Path) -> tuple[tuple[int, ...], Array]:
    """Shape and affine; no voxel is read. Raises Unreadable."""
    try:
        image: Any = nib.load(path)
        return tuple(map(int, image.shape)), np.asarray(image.affine, dtype=np.float64)
    except Exception as error:  # nibabel raises many kinds for a broken header
        raise Unreadable(f"is no NIfTI file ({first_line(error)}); copy it again") from None


def _bytes(path: Path) -> bytes:
    """The whole file, unpacked; what its header announces bounds how much of it is ever held."""
    packed = path.name.lower().endswith(".gz")
    try:
        with gzip.open(path) if packed else path.open("rb") as stream:
            needed = _announced(stream.read(544))
            if needed > LARGEST:
                raise Unreadable(f"its header announces {needed / 2**30:.0f} GiB; it is no scan")
            if needed > path.stat().st_size * (DEFLATE if packed else 1):
                raise Unreadable(
                    f"is truncated: its header announces {needed} bytes, more than it holds; copy it again"
                )
            stream.seek(0)
            content = stream.read(needed + SLACK + 1)
    except gzip.BadGzipFile as error:
        with path.open("rb") as plain:
            _refuse_page(plain.read(64))
        raise Unreadable(f"is damaged: {error}; copy it again") from None
    except EOFError:
        raise Unreadable("is truncated (the gzip stream ends early); copy it again") from None
    except zlib.error as error:
        raise Unreadable(f"is damaged ({error}); copy it again") from None
    if len(content) > needed + SLACK:
        raise Unreadable(f"goes on beyond the {needed} bytes that its header announces; it is damaged or no scan")
    return content


def _announced(head: bytes) -> int:
    """Bytes of the file, by its header; nothing is loaded."""
    _refuse_page(head)
    kind = {348: nib.Nifti1Header, 540: nib.Nifti2Header}
    size = next((n for order in ("little", "big") if (n := int.from_bytes(head[:4], order)) in kind), 0)
    if not size or len(head) < size:
        hint = "it is gzip: name it .nii.gz" if head[:2] == b"\x1f\x8b" else "copy it again"
        raise Unreadable(f"is no NIfTI file (it has no whole header); {hint}")
    try:
        header = kind[size](head[:size], check=False)
        shape, dtype, offset = header.get_data_shape(), header.get_data_dtype(), int(header["vox_offset"])
    except Exception as error:  # nibabel and numpy raise many kinds for a broken header
        raise Unreadable(f"is no NIfTI file ({first_line(error)}); copy it again") from None
    if any(n < 1 for n in shape) or not shape:
        raise Unreadable(f"its header claims the shape {tuple(map(int, shape))}; copy it again")
    return max(offset, 0) + math.prod(map(int, shape)) * dtype.itemsize


def _refuse_page(head: bytes) -> None:
    if head.lstrip().lower().startswith((b"<!doctype", b"<html")):
        raise Unreadable("is a web page, not an image; download it again")
