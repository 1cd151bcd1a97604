"""Archives from the web, unpacked without trust: nothing leaves the folder, nothing grows without bound, all or nothing."""

from __future__ import annotations

import gzip
import os
import shutil
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from lzma import LZMAError
from pathlib import Path
from typing import IO

from medexp.data.fetching.archives import (
    CHUNK,
    Entry,
    Parts,
    Refused,
    is_litter,
    link_target,
    safe_parts,
    tar_entries,
    zip_entries,
)
from medexp.data.fetching.download import bar, size
from medexp.errors import UserError

MAX_ENTRIES = 2_000_000  # RSNA's intracranial haemorrhage, the largest set of single files here, has 875,000
MAX_RATIO = 400  # unpacked to packed bytes; label maps of zeros come near 100, deflate's own limit is 1032
UNSUSPICIOUS = 1 << 30  # bytes that any archive may unpack to
MAX_LINK = 4096  # bytes of a link's target
FAULTS = (
    *(Refused, OSError, EOFError, zlib.error, LZMAError, struct.error, tarfile.TarError, zipfile.BadZipFile),
    *(RuntimeError, ValueError, OverflowError),
)


@dataclass
class Unpacked:
    """What came out; left_out: files that only macOS knows ("._x", __MACOSX, .DS_Store)."""

    files: int = 0
    bytes: int = 0
    left_out: int = 0


def unpack(archive: Path, into: Path, kind: str) -> Unpacked:
    """Unpacks a zip or (compressed) tar into a folder that is not there yet; files get the user's own permissions.

    Links may lead to files and folders of the archive, not through other links. Raises UserError naming the entry for
    whatever may harm (an absolute path, "..", a link to elsewhere, a device, too many entries or bytes) or cannot be read;
    `into` is then removed.
    """
    entries = {"zip": zip_entries, "tar": tar_entries}[kind](archive)
    _need_new(into)
    with _all_or_nothing(into, archive, kind) as current:
        into.mkdir(parents=True)
        writer = _Writer(into, _limit(archive), shutil.disk_usage(into).free)
        with bar(f"unpacking {archive.name}") as show:
            for entry in entries:
                current.name = entry.name
                writer.add(entry)
                show(entry.packed, archive.stat().st_size)
        current.name = ""
        for name, hard, target in writer.links:
            current.name = name
            writer.link(safe_parts(name), hard, target)
    return writer.done


def gunzip(archive: Path, path: Path) -> int:
    """Unpacks a gzip file to `path`, which is not there yet; returns its bytes. Raises UserError as `unpack` does."""
    _need_new(path)
    with _all_or_nothing(path, archive, "gz"), gzip.open(archive) as source:
        path.parent.mkdir(parents=True, exist_ok=True)
        return _copy(source, path, min(_limit(archive), shutil.disk_usage(path.parent).free))


def lift(folder: Path, names: set[str]) -> None:
    """Where a folder holds nothing but one folder of one of these names, the content of that takes its place."""
    inner = list(folder.iterdir())
    if len(inner) != 1 or not inner[0].is_dir() or inner[0].is_symlink():
        return
    if inner[0].name.casefold() in {name.casefold() for name in names}:
        aside = folder.with_name(f"{folder.name}.top")
        inner[0].rename(aside)
        folder.rmdir()
        aside.rename(folder)


def merge(source: Path, target: Path) -> None:
    """Moves a folder or file to `target` on the same disk, folders into folders. Raises UserError where a file is there already."""
    if not os.path.lexists(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        source.rename(target)
        return
    if any(path.is_symlink() or not path.is_dir() for path in (source, target)):
        raise UserError(f"{target}: is there already, and was not overwritten; move it away, or give another --root")
    for child in sorted(source.iterdir()):
        merge(child, target / child.name)
    source.rmdir()


class _Writer:
    """Writes entries below a folder; links last, so that no file is ever written through one."""

    def __init__(self, into: Path, limit: int, free: int) -> None:
        self.into, self.limit, self.free = into, limit, free
        self.links: list[tuple[str, bool, str]] = []  # name, whether it is a hard link, target
        self.places: set[Parts] = set()  # of links
        self.done, self.seen = Unpacked(), 0

    def add(self, entry: Entry) -> None:
        self.seen += 1
        if self.seen > MAX_ENTRIES:
            raise Refused(f"is one more than the {MAX_ENTRIES} entries that are unpacked at most")
        parts = safe_parts(entry.name)
        if entry.kind == "device":
            raise Refused("is a device, a pipe or something else that is no file")
        if parts and is_litter(parts):
            self.done.left_out += entry.kind != "folder"
        elif entry.kind == "folder":
            self.into.joinpath(*parts).mkdir(parents=True, exist_ok=True)
        elif not parts:
            raise Refused("has no name")
        elif entry.kind == "file":
            self._file(entry, self.into.joinpath(*parts))
        else:
            target = _content(entry) if entry.target is None else entry.target
            self.links.append((entry.name, entry.kind == "hardlink", target))
            self.places.add(parts)

    def _file(self, entry: Entry, path: Path) -> None:
        total = self.done.bytes + entry.size
        if total > self.limit:
            raise Refused(f"brings the archive to {size(total)}, more than {size(self.limit)}: a decompression bomb?")
        if total > self.free:
            raise Refused(f"does not fit on the disk: {size(self.free)} are free, {size(total)} needed up to here")
        path.parent.mkdir(parents=True, exist_ok=True)
        with entry.open() as source:
            self.done.bytes += _copy(source, path, entry.size)
        self.done.files += 1

    def link(self, place: Parts, hard: bool, target: str) -> None:
        if hard:
            target = "/".join([*[".."] * (len(place) - 1), *safe_parts(target)])
        to = link_target(place, target, self.places)
        source, path = self.into.joinpath(*to), self.into.joinpath(*place)
        if not source.exists() or (hard and not source.is_file()):
            raise Refused(f"is a link to something that is not in the archive ({target!r})")
        path.parent.mkdir(parents=True, exist_ok=True)
        if hard:
            path.hardlink_to(source)
        else:
            path.symlink_to(os.path.relpath(source, path.parent))
        self.done.files += 1


def _content(entry: Entry) -> str:
    """The target of a zip's symbolic link."""
    with entry.open() as source:
        return source.read(MAX_LINK).decode("utf-8")


@dataclass
class _Current:
    name: str = ""


@contextmanager
def _all_or_nothing(made: Path, archive: Path, kind: str) -> Iterator[_Current]:
    """Faults within become one line that names the entry; whatever ends it early, what was made is removed."""
    current = _Current()
    try:
        yield current
    except BaseException as error:
        if made.is_dir():
            shutil.rmtree(made, ignore_errors=True)
        else:
            made.unlink(missing_ok=True)
        if isinstance(error, FAULTS):
            entry = f"entry {current.name!r} " if current.name else ""
            raise UserError(f"{archive}: {entry}{_explain(error, archive, kind)}; nothing was unpacked") from None
        raise


def _explain(error: BaseException, archive: Path, kind: str) -> str:
    if isinstance(error, Refused):
        return str(error)
    if isinstance(error, FileExistsError | NotADirectoryError | IsADirectoryError):
        return "is there twice"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be unpacked ({error.strerror})"
    with archive.open("rb") as file:
        if file.read(64).lstrip().lower().startswith((b"<!doctype", b"<html")):
            return f"is a web page, not a {kind} file"
    return f"is no {kind} file, or a damaged one ({' '.join(str(error).split())[:100] or type(error).__name__})"


def _need_new(path: Path) -> None:
    if os.path.lexists(path):
        raise UserError(f"{path}: is there already, and is not unpacked over")


def _copy(source: IO[bytes] | gzip.GzipFile, path: Path, limit: int) -> int:
    """Bytes written to a new file. Raises Refused beyond `limit`."""
    count = 0
    with path.open("xb") as file:
        while chunk := source.read(CHUNK):
            count += len(chunk)
            if count > limit:
                raise Refused(f"unpacks to more than {size(limit)}: a decompression bomb?")
            file.write(chunk)
    return count


def _limit(archive: Path) -> int:
    return max(UNSUSPICIOUS, MAX_RATIO * archive.stat().st_size)
