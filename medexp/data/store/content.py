"""What files hold, as hashes: keys of everything that is derived from them. A file is read once and remembered."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import threading
from contextlib import closing, suppress
from dataclasses import asdict
from pathlib import Path

from medexp.data.formats.scan import Unreadable
from medexp.data.images import voxel_file
from medexp.data.records import Record
from medexp.errors import UserError

CHUNK = 2**20  # bytes read at a time
SCHEMA = """
CREATE TABLE IF NOT EXISTS digests (path TEXT PRIMARY KEY, stat TEXT NOT NULL, digest TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS notes (key TEXT PRIMARY KEY, note TEXT NOT NULL);
"""


def digest_of(*parts: str | bytes) -> str:
    """128 bits of BLAKE2 over texts, each told apart from the next."""
    hasher = hashlib.blake2b(digest_size=16)
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        hasher.update(len(content).to_bytes(8, "little"))
        hasher.update(content)
    return hasher.hexdigest()


class Contents:
    """Hashes of files and records, remembered in `folder` by path, size, modification and change time.

    A file that was changed is read again; one that was only moved too. Several processes may share a folder. Raises
    UserError where the folder cannot be written; OSError where a file cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "digests.sqlite"
        self._lock = threading.Lock()
        self._known: dict[str, tuple[str, str]] = {}
        self._new: list[str] = []
        self._notes: dict[str, str] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._known = self._load()
        except sqlite3.DatabaseError:  # damaged: it holds nothing that cannot be read again
            with suppress(OSError):
                self._path.unlink()
        except OSError as error:
            raise UserError(f"cache_dir: cannot write to {folder} ({error.strerror}); set MEDEXP_CACHE") from None

    def digest(self, path: Path) -> str:
        """Hash of a file's bytes (and of the voxels that lie beside a header), or of a folder's files (those directly in it)
        with their names."""
        if path.is_dir():
            names = sorted(entry.name for entry in os.scandir(path) if entry.is_file())
            return digest_of(*(text for name in names for text in (name, self.digest(path / name))))
        try:
            voxels = voxel_file(path)
        except Unreadable:
            voxels = path  # reading it will say what is wrong
        if voxels != path:
            return digest_of(self._file(path), self._file(voxels))
        return self._file(path)

    def _file(self, path: Path) -> str:
        name, stat = str(path.absolute()), _stat(path)
        known = self._known.get(name)
        if known is not None and known[0] == stat:
            return known[1]
        hasher = hashlib.blake2b(digest_size=16)
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                hasher.update(chunk)
        with self._lock:
            self._known[name] = (stat, hasher.hexdigest())
            self._new.append(name)
        return hasher.hexdigest()

    def of(self, record: Record, label: bool = True) -> str:
        """Hash of all that a record names: its files' content, and which part of them it is. `label`: its label map too."""
        files = [
            path and self.digest(path) for path in (*record.images, record.region, record.label if label else None)
        ]
        part = [record.member, record.time, record.split if record.member is not None else None]
        parts = [part_of and asdict(part_of) for part_of in (record.slice, record.window)]
        frames = [] if record.frames is None else [record.frames]
        return digest_of(json.dumps([files, part, parts, *frames]))

    def note(self, key: str) -> str | None:
        """What was written under a key (a hash of all that it depends on)."""
        if key in self._notes:
            return self._notes[key]
        with suppress(sqlite3.Error), closing(self._connect()) as database:
            row = database.execute("SELECT note FROM notes WHERE key = ?", (key,)).fetchone()
            return None if row is None else str(row[0])
        return None

    def write_note(self, key: str, note: str) -> None:
        """Remembers a text under a key, once `save` is called."""
        with self._lock:
            self._notes[key] = note

    def save(self) -> None:
        """Remembers what was read since the last call; what another process cannot be told is read again."""
        with self._lock:
            rows = [(name, *self._known[name]) for name in self._new]
            self._new.clear()
            notes = list(self._notes.items())
        with suppress(sqlite3.Error), closing(self._connect()) as database, database:
            database.executemany("INSERT OR REPLACE INTO digests VALUES (?, ?, ?)", rows)
            database.executemany("INSERT OR REPLACE INTO notes VALUES (?, ?)", notes)

    def _load(self) -> dict[str, tuple[str, str]]:
        with closing(self._connect()) as database, database:
            return {name: (stat, digest) for name, stat, digest in database.execute("SELECT * FROM digests")}

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=30.0)
        connection.executescript(SCHEMA)
        return connection


def _stat(path: Path) -> str:
    facts = path.stat()
    return f"{facts.st_size} {facts.st_mtime_ns} {facts.st_ctime_ns} {facts.st_ino}"
