"""MetaImage volumes (.mha, or .mhd with a .raw or .zraw beside it) without ITK.

The format: itk.org/Wiki/ITK/MetaIO/Documentation. Coordinates are in LPS; they become RAS here, as in NIfTI.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import nibabel as nib
import numpy as np

from medexp.data.formats.nifti import DEFLATE, LARGEST, singular
from medexp.data.formats.part import cut_window
from medexp.data.formats.scan import Array, Scan, Unreadable, Wanted, at_time, channel_first
from medexp.data.records import Window

METAIMAGE = (".mhd", ".mha")
LONGEST = 64 * 2**10  # bytes of a header; more is none
TYPES = {  # MetaIO's LONG has 4 bytes on disk, whatever the machine
    **{"MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4"},
    **{"MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8"},
    **{"MET_FLOAT": "f4", "MET_DOUBLE": "f8"},
}
SYNONYMS = {"Position": "Offset", "Origin": "Offset", "Rotation": "TransformMatrix", "Orientation": "TransformMatrix"}


@dataclass(frozen=True)
class Header:
    """What precedes the voxels. start: byte of the .mha at which they begin; skip: HeaderSize of a .raw, -1: from the end."""

    shape: tuple[int, ...]
    channels: int
    dtype: np.dtype[Any]
    affine: Array
    compressed: int | None  # bytes, 0 where the header does not say; None: voxels as they are
    data: str
    start: int
    skip: int

    @property
    def size(self) -> int:
        """Bytes of all voxels, unpacked."""
        return math.prod(self.shape) * self.channels * self.dtype.itemsize


def read_metaimage(path: Path, wanted: Wanted, window: Window | None = None) -> Scan:
    """Image (C, *spatial), float32, or label map (1, *spatial) in its own type. Raises Unreadable.

    window: that part of the volume alone; of a file that is not compressed nothing else is read.
    """
    header = _header(path)
    affine, spacing = header.affine, tuple(float(size) for size in nib.affines.voxel_sizes(header.affine))
    stored = _stored(path, header, mapped=window is not None)
    if window is not None:
        if len(header.shape) != 3:
            raise Unreadable(f"is {len(header.shape)}D {header.shape}; windows are parts of 3D volumes")
        part = cut_window(Scan(stored, affine, spacing), window)
        stored, affine = part.array, part.affine
    voxels = _row_major(stored, header.dtype.newbyteorder("=") if wanted.label else np.dtype(np.float32))
    voxels = voxels[0] if header.channels == 1 else np.moveaxis(voxels, 0, -1)
    return Scan(channel_first(at_time(voxels, wanted), wanted), affine, spacing[: wanted.spatial_dims])


def metaimage_header(path: Path) -> tuple[tuple[int, ...], Array]:
    """Shape (channels last) and affine; no voxel is read. Raises Unreadable."""
    header = _header(path)
    return (*header.shape, *([header.channels] if header.channels > 1 else [])), header.affine


def voxel_file(path: Path) -> Path:
    """The file that holds the voxels: the .mha itself, or what lies beside the .mhd. Raises Unreadable."""
    name = _header(path).data
    return path if name.upper() == "LOCAL" else _beside(path, name)


def _header(path: Path) -> Header:
    with path.open("rb") as file:
        head = file.read(LONGEST)
    fields: dict[str, str] = {}
    start = 0
    for line in head.splitlines(keepends=True):
        start += len(line)
        key, equals, value = line.decode("latin-1").partition("=")
        if not equals:
            break
        fields[SYNONYMS.get(key.strip(), key.strip())] = value.strip()
        if key.strip() == "ElementDataFile":
            return _parsed(fields, start)
    seen = "is a web page" if head.lstrip().lower().startswith((b"<!doctype", b"<html")) else "is no MetaImage"
    raise Unreadable(f"{seen} (its header has no ElementDataFile); copy it again")


def _parsed(fields: dict[str, str], start: int) -> Header:
    lacking = [key for key in ("NDims", "DimSize", "ElementType") if key not in fields]
    if lacking:
        raise Unreadable(f"its header lacks {', '.join(lacking)}; copy it again")
    dims = int(_numbers(fields, "NDims", 1)[0])
    if dims not in (2, 3, 4):
        raise Unreadable(f"its header claims NDims = {dims}; 2, 3 and 4 can be read")
    shape = tuple(int(size) for size in _numbers(fields, "DimSize", dims))
    channels = int(_numbers(fields, "ElementNumberOfChannels", 1, [1])[0])
    if min(*shape, channels) < 1:
        raise Unreadable(f"its header claims the shape {shape} and {channels} channels; copy it again")
    name = fields["ElementType"].removesuffix("_ARRAY")
    if name not in TYPES:
        raise Unreadable(f"holds {fields['ElementType']} voxels; known: {' '.join(TYPES)}")
    rescaled = [_numbers(fields, f"ElementToIntensityFunction{k}", 1, [n])[0] for k, n in (("Slope", 1), ("Offset", 0))]
    if rescaled != [1, 0] or not _is(fields, "BinaryData", True):
        raise Unreadable("holds text or rescaled voxels, which readers disagree about; save plain binary voxels")
    big = _is(fields, "BinaryDataByteOrderMSB", _is(fields, "ElementByteOrderMSB", False))
    dtype = np.dtype((">" if big else "<") + TYPES[name])
    packed = _is(fields, "CompressedData", False)
    compressed = int(_numbers(fields, "CompressedDataSize", 1, [0])[0]) if packed else None
    skip = int(_numbers(fields, "HeaderSize", 1, [0])[0])
    header = Header(shape, channels, dtype, _affine(fields, dims), compressed, fields["ElementDataFile"], start, skip)
    if header.size > LARGEST:
        raise Unreadable(f"its header announces {header.size / 2**30:.0f} GiB; it is no scan")
    return header


def _affine(fields: dict[str, str], dims: int) -> Array:
    """(4, 4), voxel to mm in RAS. TransformMatrix lists one axis after the other: each `dims` numbers are the direction
    of a voxel axis, a column of the matrix."""
    axes = np.reshape(_numbers(fields, "TransformMatrix", dims * dims, np.eye(dims).ravel().tolist()), (dims, dims)).T
    size = "ElementSpacing" if "ElementSpacing" in fields else "ElementSize"
    spacing = _numbers(fields, size, dims, [1.0] * dims)
    offset = _numbers(fields, "Offset", dims, [0.0] * dims)
    placed = min(dims, 3)
    affine = np.eye(4)
    affine[:placed, :placed] = (axes * spacing)[:placed, :placed]
    affine[:placed, 3] = offset[:placed]
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    if singular(affine):
        raise Unreadable("its TransformMatrix and ElementSpacing are singular or not finite; mend the header")
    return affine


def _numbers(fields: dict[str, str], key: str, count: int, default: list[float] | None = None) -> list[float]:
    if key not in fields and default is not None:
        return default
    try:
        values = [float(word) for word in fields[key].split()]
    except ValueError:
        values = []
    whole = key in ("NDims", "DimSize", "ElementNumberOfChannels", "HeaderSize", "CompressedDataSize")
    if len(values) != count or (whole and not all(value.is_integer() for value in values)):
        kind = "whole number" if whole else "number"
        raise Unreadable(f"its header has {key} = {fields[key][:60]}; {count} {kind}{'s' * (count > 1)} expected")
    return values


def _is(fields: dict[str, str], key: str, default: bool) -> bool:
    return fields[key].lower() in ("true", "1") if key in fields else default


def _stored(path: Path, header: Header, mapped: bool) -> Array:
    """(C, *spatial) as the file has it, x fastest. mapped: read from disk only where it is looked at."""
    local = header.data.upper() == "LOCAL"
    source = path if local else _beside(path, header.data)
    have = source.stat().st_size
    start = header.skip or (header.start if local else 0)
    if start < 0:
        start = max(have - header.size, 0)
    have = max(have - start, 0)
    if header.compressed is None and have > header.size:
        raise Unreadable(f"{source.name} holds {have} bytes of voxels, the header announces {header.size}; mend one")
    if header.compressed is None and have < header.size:
        raise Unreadable(f"is truncated: {have} of {header.size} bytes of voxels in {source.name}; copy it again")
    shape = (header.channels, *header.shape)
    if mapped and header.compressed is None:
        return np.memmap(source, header.dtype, "r", start, shape, order="F")
    with source.open("rb") as file:
        file.seek(start)
        content = file.read(header.size) if header.compressed is None else _inflated(file, have, header, source.name)
    return np.frombuffer(content, header.dtype).reshape(shape, order="F")


def _row_major(stored: Array, dtype: np.dtype[Any]) -> Array:
    """Copied a plane at a time, which takes a sixth of the time of one call that strides through all of a volume."""
    array = np.empty(stored.shape, dtype)
    for index in range(stored.shape[2]):
        array[:, :, index] = stored[:, :, index]
    return array


def _beside(path: Path, name: str) -> Path:
    if name.upper().split()[:1] == ["LIST"] or "%" in name:
        raise Unreadable(f"keeps its slices in files of their own (ElementDataFile = {name}); save it as one .mha")
    if not name or Path(name).is_absolute() or ".." in Path(name).parts or "\\" in name or ":" in name:
        raise Unreadable(f"ElementDataFile = {name} does not lie in its folder; name a file beside the header")
    if not (path.parent / name).is_file():
        raise Unreadable(f"its voxels are in {name}, which is not beside it; copy both files")
    return path.parent / name


def _inflated(file: BinaryIO, have: int, header: Header, name: str) -> bytes:
    """Unpacked to the end of the stream, where zlib compares its checksum; never more than the header announces."""
    most = header.compressed or header.size + header.size // 1000 + 1024  # what deflate cannot shrink grows by less
    packed = file.read(min(have, most))
    if header.size > len(packed) * DEFLATE:
        raise Unreadable(f"is truncated: the header announces {header.size} bytes, more than {name} holds")
    unpacking = zlib.decompressobj(wbits=47)  # zlib or gzip, both of which MetaIO reads
    try:
        content = unpacking.decompress(packed, header.size + 1)
    except zlib.error as error:
        raise Unreadable(f"{name} is damaged ({error}); copy it again") from None
    if len(content) > header.size or (unpacking.eof and len(content) < header.size):
        raise Unreadable(f"{name} does not unpack to the {header.size} bytes that the header announces; mend one")
    if not unpacking.eof:
        raise Unreadable(f"is truncated: the zlib stream in {name} ends early; copy it again")
    return content
