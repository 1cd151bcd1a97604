"""NRRD: .nrrd, and .nhdr beside its data (teem.sourceforge.net/nrrd/format.html), read to the last byte.

Volumes keep the axes of the file, the fastest first, as NIfTI does; images of two axes come as (rows, columns), as
pictures do. pynrrd reads the header; the data are read here, since it takes a compressed stream that ends early.
"""

from __future__ import annotations

import bz2
import io
import math
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import nibabel as nib
import nrrd
import numpy as np

from medexp.data.formats.nifti import singular
from medexp.data.formats.scan import Array, Scan, Unreadable, Wanted, at_time, channel_first, first_line, without_place

NRRD = (".nrrd", ".nhdr")
TYPES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "long long int", "signed long long", "signed long long int", "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}
DTYPES = {name: code for code, names in TYPES.items() for name in names}
SPACES = {  # signs that turn a space's axes to RAS; others (scanner-xyz, 3D-right-handed) say nothing of the patient
    ("left-posterior-superior", "lps"): (-1.0, -1.0, 1.0),
    ("left-anterior-superior", "las"): (-1.0, 1.0, 1.0),
}
SIGNS = {name: signs for names, signs in SPACES.items() for name in names}
LARGEST = 64 * 2**30  # bytes of voxels; more is taken for a decompression bomb
SPATIAL = ("domain", "space")
Header = dict[str, Any]


def read_nrrd(path: Path, wanted: Wanted) -> Scan:
    """Image (C, *spatial), float32, or label map (1, *spatial) in its own type; place and spacing in mm (RAS), unit
    spacing where the header names none. Raises Unreadable."""
    stream = io.BytesIO(path.read_bytes())
    header = _header(stream)
    try:
        sizes, dtype = _form(header)
        spatial, others = _axes(header, len(sizes))
        voxels = _voxels(header, _data(path, header, stream), sizes, dtype).transpose(*spatial, *others)
        placed = _affine(header, spatial)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise Unreadable(f"has a header that makes no sense ({first_line(error)}); save it again") from None
    if len(spatial) < wanted.spatial_dims:
        raise Unreadable(f"has {len(spatial)} axes in space {sizes}; set dataset.spatial_dims, or mend the header")
    if not wanted.label:
        voxels = np.asarray(voxels, dtype=np.float32)
    if wanted.spatial_dims == 2:
        return _flat(voxels, placed, wanted)
    spacing = tuple(float(size) for size in nib.affines.voxel_sizes(placed))
    return Scan(channel_first(at_time(voxels, wanted), wanted), placed, spacing)


def nrrd_header(path: Path) -> tuple[tuple[int, ...], Array]:
    """Shape (*spatial[, others]) and affine; no voxel is read. Raises Unreadable."""
    with path.open("rb") as file:
        header = _header(file)
    try:
        sizes, _ = _form(header)
        spatial, others = _axes(header, len(sizes))
        return tuple(sizes[axis] for axis in (*spatial, *others)), _affine(header, spatial)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise Unreadable(f"has a header that makes no sense ({first_line(error)}); save it again") from None


def _header(stream: BinaryIO) -> Header:
    """The stream is left where the data begin."""
    head = stream.read(64)
    stream.seek(0)
    if not head.startswith(b"NRRD000"):
        page = head.lstrip().lower().startswith((b"<!doctype", b"<html"))
        raise Unreadable("is a web page, not an image; download it again" if page else "is no NRRD file; copy it again")
    try:
        return dict(nrrd.read_header(stream))
    except Exception as error:  # pynrrd raises many kinds for a broken header
        raise Unreadable(f"has a damaged header ({first_line(error)}); copy it again") from None


def _form(header: Header) -> tuple[tuple[int, ...], np.dtype[Any]]:
    missing = [key for key in ("dimension", "type", "encoding", "sizes") if key not in header]
    if missing:
        raise Unreadable(f"its header lacks {', '.join(missing)}; copy it again")
    sizes = tuple(int(size) for size in header["sizes"])
    if len(sizes) != header["dimension"] or any(size < 1 for size in sizes):
        raise Unreadable(f"its header claims the sizes {sizes} of {header['dimension']} axes; copy it again")
    code = DTYPES.get(header["type"])
    if code is None:
        raise Unreadable(f"holds '{header['type']}' voxels; real numbers are needed")
    units = {str(unit).lower() for unit in header.get("space units", [])} - {"", "mm", "millimeter", "millimeters"}
    if units:
        raise Unreadable(f"its spacing is in {', '.join(sorted(units))}; save it in mm")
    order = header.get("endian", "little")
    if order not in ("little", "big") or ("endian" not in header and code[1] != "1" and not _is_text(header)):
        raise Unreadable("its header does not say whether the data are little or big endian; save it again")
    return sizes, np.dtype(("<" if order == "little" else ">") + code)


def _is_text(header: Header) -> bool:
    return str(header["encoding"]).lower() in ("ascii", "text", "txt")


def _skip(header: Header, what: str) -> int:
    return int(header.get(f"{what} skip") or header.get(f"{what}skip") or 0)


def _data(path: Path, header: Header, stream: io.BytesIO) -> bytes:
    """What follows the header, or the file that it names."""
    beside = _beside(path, header)
    if beside is not None:
        stream = io.BytesIO(beside.read_bytes())
    for _ in range(_skip(header, "line")):
        stream.readline()
    return stream.read()


def _beside(path: Path, header: Header) -> Path | None:
    """The file of its own that holds the data; None where they follow the header."""
    name = header.get("data file", header.get("datafile"))
    if name is None:
        return None
    if name.split()[0] == "LIST" or "%" in name:
        raise Unreadable("spreads its data over several files; save it as one")
    beside = path.parent / name
    if not beside.resolve().is_relative_to(path.parent.resolve()):
        raise Unreadable(f"names data outside of its folder ('{name}'); put them beside it")
    if not beside.is_file():
        raise Unreadable(f"its data file '{name}' is missing; copy it beside the header")
    return beside


def voxel_file(path: Path) -> Path:
    """The file that holds the voxels: what lies beside the header, or the file itself. Raises Unreadable."""
    with path.open("rb") as file:
        return _beside(path, _header(file)) or path


def _voxels(header: Header, data: bytes, sizes: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Unpacked, all of it, and in the shape of the file's axes."""
    count = math.prod(sizes)
    needed = count * dtype.itemsize
    if needed > LARGEST:
        raise Unreadable(f"its header announces {needed / 2**30:.0f} GiB; it is no scan")
    encoding = str(header["encoding"]).lower()
    skip = _skip(header, "byte")
    if _is_text(header):
        words = data[max(skip, 0) :].split()
        if len(words) != count:
            raise Unreadable(f"holds {len(words)} of {count} voxels; copy it again")
        return np.asarray(words).astype(dtype).reshape(sizes, order="F")
    if encoding in ("gzip", "gz"):
        data = _unpacked(zlib.decompressobj(zlib.MAX_WBITS | 16), data, needed + max(skip, 0))
    elif encoding in ("bzip2", "bz2"):
        data = _unpacked(bz2.BZ2Decompressor(), data, needed + max(skip, 0))
    elif encoding != "raw":
        raise Unreadable(f"is stored as '{encoding}', which cannot be read; save it as raw or gzip")
    data = data[-needed:] if skip == -1 else data[skip:]
    if len(data) < needed:
        raise Unreadable(f"is truncated: {len(data)} of {needed} bytes of voxels; copy it again")
    if len(data) > needed + 1:  # some writers end the file with a line break
        raise Unreadable(f"goes on beyond the {needed} bytes that its header announces; it is damaged")
    return np.frombuffer(data, dtype, count).reshape(sizes, order="F").astype(dtype.newbyteorder("="))


def _unpacked(stream: Any, data: bytes, needed: int) -> bytes:
    """A stream to its end, where its checksum is compared; no more than what is needed is ever held."""
    try:
        content: bytes = stream.decompress(data, needed + 2)
    except (OSError, ValueError, EOFError, zlib.error) as error:
        raise Unreadable(f"is damaged ({first_line(error)}); copy it again") from None
    if not stream.eof and len(content) <= needed + 1:
        raise Unreadable("is truncated (the compressed stream ends early); copy it again")
    return content


def _axes(header: Header, count: int) -> tuple[list[int], list[int]]:
    """Axes of space, and those of components, lists and time."""
    directions = _directions(header)
    kinds = [str(kind).lower() for kind in header.get("kinds", [])]
    if directions is not None:
        spatial = [axis for axis, row in enumerate(directions) if row is not None]
    elif any(kind not in (*SPATIAL, "???", "none") for kind in kinds):
        spatial = [axis for axis, kind in enumerate(kinds) if kind in SPATIAL]
    else:
        spatial = list(range(min(count, 3)))
    return spatial, [axis for axis in range(count) if axis not in spatial]


def _directions(header: Header) -> list[Array | None] | None:
    """The space direction of each axis in the order of the file, None for an axis that is not of space."""
    given = header.get("space directions")
    if given is None:
        return None
    rows = [None if row is None else np.asarray(row, dtype=float) for row in given]
    return [None if row is None or np.isnan(row).all() else row for row in rows]


def _affine(header: Header, spatial: list[int]) -> Array:
    """Axes of space to mm (RAS); without directions their spacing alone, 1 where that is not given either."""
    placed = np.eye(4)
    rows = [row for row in _directions(header) or [] if row is not None]
    if len(rows) != 3 or len(rows[0]) != 3:
        given = header.get("spacings")
        for place, axis in enumerate(spatial[:3]):
            size = np.linalg.norm(rows[place]) if place < len(rows) else 1.0 if given is None else given[axis]
            placed[place, place] = size if np.isfinite(size) and size > 0 else 1.0
        return placed
    signs = SIGNS.get(str(header.get("space", "")).lower().removesuffix("-time"), (1.0, 1.0, 1.0))
    origin = header.get("space origin")
    placed[:3, :3] = np.asarray(rows).T
    placed[:3, 3] = 0.0 if origin is None else np.asarray(origin, dtype=float)
    placed = np.diag([*signs, 1.0]) @ placed
    if singular(placed):
        raise Unreadable("its space directions are singular or not finite; mend the header")
    return placed


def _flat(voxels: Array, placed: Array, wanted: Wanted) -> Scan:
    """(columns, rows[, 1][, C]) to (C, rows, columns)."""
    if voxels.ndim > 2 and voxels.shape[2] == 1:
        voxels = voxels[:, :, 0]
    across, down = (float(size) for size in nib.affines.voxel_sizes(placed)[:2])
    scan = without_place(np.swapaxes(at_time(voxels, wanted), 0, 1), wanted)
    return Scan(scan.array, np.diag([down, across, 1.0, 1.0]), (down, across))
