"""The store: prepared cases on disk, one file a case, written once and whole, read a patch at a time.

A file holds a JSON header and uncompressed arrays at fixed offsets. It is opened for each read and let go again: a map
kept open would count as memory for every page that was ever touched. The key of a file is the content of the case's
input, what is done to it and the code that does it, so an entry is never out of date: it is only no longer asked for.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from mmap import MAP_PRIVATE, PROT_READ, PROT_WRITE, mmap
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from medexp.data.formats.scan import Array
from medexp.data.parallel import Stop

MAGIC = b"MEDEXP1\n"
ALIGNED = 64  # bytes
SUFFIX = ".case"
Arrays = Mapping[str, Array]


class Damaged(Exception):
    """What is wrong with a file of the store."""


class Kept(Protocol):
    """A prepared case, wherever it is kept: `facts` is JSON, arrays are read a part at a time."""

    @property
    def facts(self) -> dict[str, Any]: ...

    def shape(self, name: str) -> tuple[int, ...]: ...

    def read(self, name: str, cut: tuple[slice, ...] = ()) -> Array: ...

    def __contains__(self, name: str) -> bool: ...


@dataclass(frozen=True)
class InMemory:
    """A prepared case in memory, where a data set is trained without the store."""

    arrays: Arrays
    facts: dict[str, Any]

    def __contains__(self, name: str) -> bool:
        return name in self.arrays

    def shape(self, name: str) -> tuple[int, ...]:
        return self.arrays[name].shape

    def read(self, name: str, cut: tuple[slice, ...] = ()) -> Array:
        """A copy of a part of an array."""
        return np.array(self.arrays[name][cut])


@dataclass(frozen=True)
class Entry:
    """One prepared case on disk: where its arrays lie in the file, and what is known of it (`facts`, JSON)."""

    path: Path
    arrays: dict[str, tuple[str, tuple[int, ...], int]]  # dtype, shape, offset
    facts: dict[str, Any]

    def __contains__(self, name: str) -> bool:
        return name in self.arrays

    def shape(self, name: str) -> tuple[int, ...]:
        return self.arrays[name][1]

    def read(self, name: str, cut: tuple[slice, ...] = ()) -> Array:
        """A copy of a part of an array; slices reach no further than the array, as numpy's do."""
        dtype, shape, offset = self.arrays[name]
        if 0 in shape:
            return np.empty(shape, dtype)[cut]
        try:
            handle = os.open(self.path, os.O_RDONLY)
        except FileNotFoundError:
            raise Stop(
                f"{self.path}: was removed from the store while in use; start again, or resume the run"
            ) from None
        try:  # private and writable, because torch wants that; nothing is written
            pages = mmap(handle, 0, flags=MAP_PRIVATE, prot=PROT_READ | PROT_WRITE)
        finally:
            os.close(handle)
        part = np.ndarray(shape, dtype, pages, offset)[cut]
        return np.asarray(torch.from_numpy(part).clone().numpy())  # torch copies faster than numpy, and the map goes


class Store:
    """Entries below a folder. Several processes may use it: each entry is made by one of them, the others wait.

    Raises Stop where the folder cannot be written or the disk is full; then no half entry is left.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            (folder / "locks").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Stop(f"dataset.store: cannot write to {folder} ({error.strerror}); set MEDEXP_CACHE") from None

    def path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}{SUFFIX}"

    def find(self, key: str) -> Entry | None:
        """The entry of a key; None where there is none, or one that was cut short by something else than medexp."""
        try:
            entry = open_entry(self.path(key))
        except (OSError, Damaged):
            return None
        with suppress(OSError):
            os.utime(entry.path)  # last used, for `medexp cache --prune`
        return entry

    def ensure(self, key: str, make: Callable[[], tuple[Arrays, dict[str, Any]]]) -> Entry:
        """The entry of a key, made first where it is not there. What `make` raises leaves nothing behind."""
        found = self.find(key)
        if found is not None:
            return found
        with self._lock(key):
            found = self.find(key)  # somebody else was faster
            if found is not None:
                return found
            arrays, facts = make()
            try:
                write_entry(self.path(key), arrays, facts)
            except OSError as error:
                raise Stop(
                    f"dataset.store: cannot write to {self.folder} ({error.strerror or error}); free some space "
                    "(`medexp cache prune`), set MEDEXP_CACHE to another disk, or dataset.store=null"
                ) from None
        return open_entry(self.path(key))

    def files(self) -> list[Path]:
        """The files of all entries."""
        return sorted(self.folder.glob(f"??/*{SUFFIX}"))

    def leftovers(self) -> list[Path]:
        """Half-written files of processes that were killed; those of the last hour may still be written to."""
        old = time.time() - 3600
        return [path for path in self.folder.glob("??/.*.part") if path.stat().st_mtime < old]

    @contextmanager
    def _lock(self, key: str) -> Iterator[None]:
        try:
            handle = os.open(self.folder / "locks" / key[:3], os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise Stop(f"dataset.store: cannot write to {self.folder} ({error.strerror}); set MEDEXP_CACHE") from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)  # a killed process holds nothing
            yield
        finally:
            os.close(handle)


def write_entry(path: Path, arrays: Arrays, facts: dict[str, Any]) -> None:
    """Whole or not at all. Raises OSError."""
    whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    head = json.dumps(
        {
            "arrays": {name: [array.dtype.str, list(array.shape)] for name, array in whole.items()},
            "digest": _digest(whole),
            "facts": facts,
        },
        allow_nan=False,
    ).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.{time.monotonic_ns()}.part")
    try:
        with part.open("wb") as file:
            file.write(MAGIC + hashlib.blake2b(head, digest_size=16).digest() + len(head).to_bytes(8, "little") + head)
            for array in whole.values():
                file.write(b"\0" * (-file.tell() % ALIGNED))
                array.tofile(file)
        part.replace(path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


def open_entry(path: Path) -> Entry:
    """The header of an entry; its arrays stay on disk. Raises OSError and Damaged."""
    with path.open("rb") as file:
        start = file.read(len(MAGIC) + 24)
        length = int.from_bytes(start[-8:], "little")
        size = os.fstat(file.fileno()).st_size
        if start[: len(MAGIC)] != MAGIC or length > size:
            raise Damaged("is no entry of the store")
        text = file.read(length)
    if start[len(MAGIC) : -8] != hashlib.blake2b(text, digest_size=16).digest():
        raise Damaged("its header is not the one that was written")
    head = json.loads(text)
    offset, arrays = len(start) + length, {}
    for name, (dtype, shape) in head["arrays"].items():
        offset += -offset % ALIGNED
        arrays[name] = (dtype, tuple(shape), offset)
        offset += np.dtype(dtype).itemsize * math.prod(shape)
    if offset != size:
        raise Damaged(f"has {size} bytes, {offset} are expected")
    return Entry(path, arrays, head["facts"])


def verify_entry(path: Path) -> str:
    """What is wrong with an entry, read to its last byte; "" where nothing is."""
    try:
        entry = open_entry(path)
        with path.open("rb") as file:
            file.seek(len(MAGIC) + 16)
            head = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        sound = _digest({name: entry.read(name) for name in entry.arrays}) == head["digest"]
    except (OSError, Damaged, ValueError, KeyError) as error:
        return str(error) or type(error).__name__
    return "" if sound else "its arrays are not those that were written"


def _digest(arrays: Arrays) -> str:
    hasher = hashlib.blake2b(digest_size=16)
    for array in arrays.values():
        hasher.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return hasher.hexdigest()
