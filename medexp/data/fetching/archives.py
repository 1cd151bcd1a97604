"""What zip and tar files hold, entry by entry, and which of their names and links are safe; nothing is written here."""

from __future__ import annotations

import re
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, Literal

Kind = Literal["file", "folder", "symlink", "hardlink", "device"]
BLOCK = 512  # bytes of a tar header
CHUNK = 1 << 20

Parts = tuple[str, ...]  # of a path below the folder; () is the folder itself


class Refused(Exception):
    """An entry that is not unpacked; the reason, to be read after its name."""


@dataclass(frozen=True)
class Entry:
    """One member of an archive; it can be opened until the next one is asked for.

    size: bytes, as the archive says. target: where a link leads (a hard link's is named from the top of the archive), None
    where it is the content (a zip's symbolic link). packed: bytes of the archive up to here, roughly.
    """

    name: str
    kind: Kind
    size: int
    target: str | None
    packed: int
    open: Callable[[], IO[bytes]]


def zip_entries(path: Path) -> Iterator[Entry]:
    """Raises zipfile.BadZipFile and the like where it is damaged."""
    packed = 0
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            packed += info.compress_size
            name = info.orig_filename.replace(
                "\\", "/"
            )  # filename is cut at a NUL; some Windows tools write backslashes
            yield Entry(name, _zip_kind(info, name), info.file_size, None, packed, partial(_open_zip, archive, info))


def _zip_kind(info: zipfile.ZipInfo, name: str) -> Kind:
    mode = info.external_attr >> 16
    if stat.S_ISLNK(mode):
        return "symlink"
    if name.endswith("/") or stat.S_ISDIR(mode):
        return "folder"
    return "file" if stat.S_ISREG(mode) or not stat.S_IFMT(mode) else "device"


def _open_zip(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> IO[bytes]:
    if info.flag_bits & 0x1:
        raise Refused("is encrypted")
    return archive.open(info)


def tar_entries(path: Path) -> Iterator[Entry]:
    """Of a tar, plain or compressed by gzip, bzip2 or xz. Raises tarfile.TarError and the like where it is damaged."""
    with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:*") as archive:
        for member in archive:
            opened = partial(_open_tar, archive, member)
            yield Entry(member.name, _tar_kind(member), member.size, member.linkname, file.tell(), opened)
        _need_end(archive)


def _tar_kind(member: tarfile.TarInfo) -> Kind:
    kinds: tuple[tuple[bool, Kind], ...] = (
        *((member.isreg(), "file"), (member.isdir(), "folder")),
        *((member.issym(), "symlink"), (member.islnk(), "hardlink")),
    )
    return next((kind for fits, kind in kinds if fits), "device")


def _open_tar(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    opened = archive.extractfile(member)
    assert opened is not None, "only files are opened"
    return opened


def _need_end(archive: tarfile.TarFile) -> None:
    """tarfile takes a header that it cannot read for the end: it must be zeros. The rest is read for its checksum."""
    stream: Any = archive.fileobj
    stream.seek(archive.offset)
    if stream.read(BLOCK).strip(b"\0"):
        raise tarfile.ReadError("what follows is no entry and no end")
    while stream.read(CHUNK):
        pass


def safe_parts(name: str) -> Parts:
    """An entry's name as a path below the folder. Raises Refused where it is anywhere else."""
    if "\0" in name:
        raise Refused("has a NUL in its name")
    if name.startswith("/") or re.match(r"[A-Za-z]:", name):
        raise Refused("is an absolute path")
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if ".." in parts:
        raise Refused("leaves the folder by '..'")
    return parts


def link_target(place: Parts, target: str, links: set[Parts]) -> Parts:
    """Where a symbolic link at `place` leads, as a path below the folder.

    No step of the way may be a link itself, so that the words of the path are the way that the system takes. Raises
    Refused where the way leaves the folder, goes through another link, or leads to a folder that the link lies in.
    """
    if not target or "\0" in target or target.startswith("/") or re.match(r"[A-Za-z]:", target):
        raise Refused(f"is a link to an absolute path, or to none ({target!r})")
    at = list(place[:-1])
    for part in ["", *target.split("/")]:
        if part == ".." and not at:
            raise Refused(f"is a link that leaves the folder ({target!r})")
        if part == "..":
            at.pop()
        elif part not in ("", "."):
            at.append(part)
        if any(tuple(at[:end]) in links for end in range(1, len(at) + 1)):
            raise Refused(f"is a link through another link ({target!r})")
    if tuple(at) == place[: len(at)]:
        raise Refused(f"is a link to a folder that it lies in ({target!r})")
    return tuple(at)


def is_litter(parts: Parts) -> bool:
    """What macOS adds to archives and nobody else reads."""
    return parts[0] == "__MACOSX" or parts[-1].startswith("._") or parts[-1] == ".DS_Store"
