"""Rows of array files: .npz as MedMNIST has them, idx as MNIST has it.

A file is unpacked once and stays in memory for the next row. One that cannot be read is remembered as well: it holds
thousands of cases, and unpacking it again for each of them to fail again would take hours.
"""

from __future__ import annotations

import gzip
import io
import math
import threading
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from medexp.data.formats.scan import Array, Scan, Unreadable, Wanted, first_line, without_place

IDX = ("idx3-ubyte", "idx3-ubyte.gz", "idx4-ubyte", "idx4-ubyte.gz")  # ends of the names of idx files of images
# Third byte of an idx file: the type of its numbers, big-endian (Y. LeCun, the idx format of the MNIST database).
IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
LARGEST = 64 * 2**30  # bytes of one unpacked array; more is taken for a decompression bomb

_one_at_a_time = threading.Lock()  # else every thread would unpack the same array file


def read_npz(path: Path, wanted: Wanted) -> Scan:
    """Row `wanted.member` of the array <split>_images. Raises Unreadable."""
    key = f"{wanted.split}_images"
    with _one_at_a_time:
        array = _npz(path, path.stat().st_mtime_ns, key)
    return _row(array, key, wanted)


def read_idx(path: Path, wanted: Wanted) -> Scan:
    """Row `wanted.member` of an idx file (gzip or not). Raises Unreadable."""
    with _one_at_a_time:
        array = _idx(path, path.stat().st_mtime_ns)
    return _row(array, path.name, wanted)


def _row(array: Array | str, name: str, wanted: Wanted) -> Scan:
    if isinstance(array, str):
        raise Unreadable(array)
    if not isinstance(wanted.member, int) or not 0 <= wanted.member < len(array):
        raise Unreadable(f"row {wanted.member} of {name} cannot be read: it has {len(array)} rows")
    return without_place(np.array(array[wanted.member]), wanted)  # a copy: the file stays in memory for the next row


@lru_cache(maxsize=8)
def _npz(path: Path, changed: int, key: str) -> Array | str:
    """The array, or what is wrong with it. `changed`: when the file was written, so that a new one is read anew."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            if key not in arrays:
                return f"holds no {key} (it holds {', '.join(arrays.files) or 'nothing'})"
            array = np.asarray(arrays[key])
    except (OSError, ValueError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile) as error:
        return f"{key} cannot be read ({first_line(error)}); download it again"
    except MemoryError as error:  # rows are kept unpacked, and the larger versions of a set have 20 GB and more
        return f"{key} does not fit into memory ({first_line(error)}); take a smaller version of the data set"
    if array.ndim < 2 or array.dtype.kind not in "biuf":
        return f"{key} is {array.ndim}D of {array.dtype}, no row of images"
    return array


@lru_cache(maxsize=8)
def _idx(path: Path, changed: int) -> Array | str:
    try:
        return unpack_idx(path)
    except Unreadable as error:
        return str(error)


def unpack_idx(path: Path) -> Array:
    """All of an idx file, in the machine's own byte order: two zero bytes, the type, the number of axes, the length of
    each (four bytes, big-endian), the numbers. Read to the end, so that gzip's checksum counts. Raises Unreadable."""
    with _opened(path) as stream:
        dtype, shape = _idx_header(stream)
        needed = math.prod(shape) * dtype.itemsize
        if needed > LARGEST:
            raise Unreadable(f"its header announces {needed / 2**30:.0f} GiB; it is no set of images")
        content = stream.read(needed + 1)
    if len(content) != needed:
        seen = f"{len(content)} of {needed} bytes" if len(content) < needed else f"more than {needed} bytes"
        raise Unreadable(f"holds {seen} of numbers, shape {shape}; download it again")
    return np.frombuffer(content, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def idx_shape(path: Path) -> tuple[int, ...]:
    """The shape that the header of an idx file gives; nothing else is read. Raises Unreadable."""
    with _opened(path) as stream:
        return _idx_header(stream)[1]


@contextmanager
def _opened(path: Path) -> Iterator[io.BufferedIOBase]:
    """An idx file, unpacked on the way. What it and its reader raise becomes Unreadable."""
    try:
        with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as stream:
            yield stream
    except gzip.BadGzipFile as error:
        raise Unreadable(f"is damaged ({first_line(error)}); download it again") from None
    except (EOFError, OSError, zlib.error) as error:
        raise Unreadable(f"is truncated or damaged ({first_line(error)}); download it again") from None


def _idx_header(stream: io.BufferedIOBase) -> tuple[np.dtype[Any], tuple[int, ...]]:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in IDX_TYPES or not magic[3]:
        hint = "it is gzip: name it .gz" if magic[:2] == b"\x1f\x8b" else "download it again"
        raise Unreadable(f"is no idx file (it begins with {magic.hex() or 'nothing'}); {hint}")
    lengths = stream.read(4 * magic[3])
    if len(lengths) < 4 * magic[3]:
        raise Unreadable("is truncated: its header ends early; download it again")
    return np.dtype(IDX_TYPES[magic[2]]), tuple(int(length) for length in np.frombuffer(lengths, ">u4"))
