"""Rows of array files: .npz as MedMNIST has them."""

from __future__ import annotations

import threading
import zipfile
import zlib
from functools import lru_cache
from pathlib import Path

import numpy as np

from medexp.data.formats.scan import Array, Scan, Unreadable, Wanted, without_place

_one_at_a_time = threading.Lock()  # else every thread would unpack the same array file


def read_npz(path: Path, wanted: Wanted) -> Scan:
    """Row `wanted.member` of the array <split>_images. Raises Unreadable."""
    try:
        with _one_at_a_time:
            array = _arrays(path, path.stat().st_mtime_ns, f"{wanted.split}_images")
        row = np.array(array[wanted.member])  # a copy: the file stays in memory for the next row
    except (LookupError, OSError, ValueError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile) as error:
        raise Unreadable(f"row {wanted.member} of {wanted.split}_images cannot be read ({error})") from None
    return without_place(row, wanted)


@lru_cache(maxsize=8)
def _arrays(path: Path, changed: int, key: str) -> Array:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return np.asarray(arrays[key])
