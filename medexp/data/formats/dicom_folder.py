"""Folders of DICOM files: which series are in one. Headers are read once a process and content of the folder."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path

from medexp.data.formats.dicom_header import Header, pseudonym, read_header, read_tags
from medexp.data.formats.scan import Unreadable

SUFFIXES = (".dcm", ".dicom", ".ima")


@dataclass(frozen=True, slots=True)
class Folder:
    """The DICOM files of a folder. broken: name and fault of each that cannot be read."""

    headers: tuple[Header, ...]
    broken: tuple[str, ...]


_locks: dict[Path, threading.Lock] = {}


def listing(folder: Path) -> str:
    """A hash that changes with the names, sizes and times of a folder's files."""
    with os.scandir(folder) as entries:
        files = sorted((e.name, (s := e.stat()).st_size, s.st_mtime_ns) for e in entries if e.is_file())
    return blake2b(repr(files).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def scan_folder(folder: Path) -> Folder:
    """Headers of all DICOM files of a folder (not of folders in it); others and hidden ones are passed over."""
    with _locks.setdefault(folder, threading.Lock()):  # else every thread would read the headers of one 4D series
        return _scan(folder, listing(folder))


@lru_cache(maxsize=32)
def _scan(folder: Path, content: str) -> Folder:
    headers, broken = [], []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name.upper() == "DICOMDIR" or not path.is_file():
            continue
        try:
            header = read_header(path)
            if header is None:
                _need_other(path)
        except Unreadable as error:
            broken.append(f"{path.name} {error}")
        else:
            headers += [header] if header is not None else []
    return Folder(tuple(headers), tuple(broken))


def _need_other(path: Path) -> None:
    """Raises Unreadable where a file that is not DICOM was meant to be: by its name, or as it holds nothing at all."""
    end = path.suffix.lower()
    with path.open("rb") as file:
        empty = not file.read(132).strip(b"\0")
    if end in SUFFIXES or (empty and (not end or end[1:].isdigit())):  # names may be UIDs, which end in digits
        raise Unreadable("is empty; copy it again" if empty else "is no DICOM file; copy it again, or rename it")


def read_patient(path: Path) -> str:
    """The hash of a file's PatientID, "" where it has none. Raises Unreadable."""
    dataset = read_tags(path, ["PatientID"])
    if dataset is None:
        raise Unreadable("is no DICOM file; copy it again")
    return pseudonym(str(dataset.get("PatientID") or ""))
