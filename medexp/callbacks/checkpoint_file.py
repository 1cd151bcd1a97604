"""Checkpoints as files: whole or not there at all, and damage is noticed before anything is read from them."""

from __future__ import annotations

import hashlib
import os
import struct
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import torch

LAST, PREVIOUS = "last.ckpt", "previous.ckpt"
MARK = b"sha256:"
COMMENT = len(MARK) + 64  # the comment that ends the zip archive: what is read from its length on is the digest
BLOCK = 1 << 22
CUT = "it is cut off, or no checkpoint"


class CheckpointFault(Exception):
    """A checkpoint that could not be written; the ones before are still there."""


class Damaged(Exception):
    """A checkpoint that is not what was written: cut off, or changed since."""


class _Digesting:
    """A file that torch.save writes to; it keeps the digest, and the error that torch's own would hide."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.digest = file, hashlib.sha256()
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            self.file.write(data)
        except OSError as error:
            self.error = error
            raise
        self.digest.update(data)
        return len(data)

    def flush(self) -> None:
        self.file.flush()


def write(content: Mapping[str, Any], path: Path, previous: Path | None = None) -> None:
    """Puts `content` in the place of `path`; what was there goes to `previous`, where one is named.

    Written beside the target, flushed to the disk, renamed: whoever reads finds the old file or the new one, also after
    a power cut. The SHA-256 of all bytes that torch.save wrote stands in the comment of the zip archive that they are,
    so it moves with the file (`unzip -z` shows it). Raises CheckpointFault where the disk is full or may not be written.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("w+b") as file:
            _save(content, file)
            file.flush()
            os.fsync(file.fileno())
        if previous is not None and path.is_file():
            _keep(path, previous)
        os.replace(part, path)
        _sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):  # a folder that refuses a new file refuses this too
            part.unlink(missing_ok=True)
        raise CheckpointFault(
            f"{path}: was not written ({error.strerror or error}); the checkpoint before it is untouched; make room, or "
            "mend the folder's permissions, then resume"
        ) from error


def _save(content: Mapping[str, Any], file: IO[bytes]) -> None:
    sink: Any = _Digesting(file)
    try:
        torch.save(content, sink)
    except Exception as error:
        raise sink.error or error  # noqa: B904  torch's error only says that a write failed
    file.seek(-2, os.SEEK_END)  # the archive ends with the length of its comment: none yet
    file.write(struct.pack("<H", COMMENT) + MARK + sink.digest.hexdigest().encode())


def _keep(path: Path, previous: Path) -> None:
    """A second name for the file at `path`, so that its first is never missing."""
    second = previous.with_name(f".{previous.name}.part")
    second.unlink(missing_ok=True)
    try:
        os.link(path, second)
    except OSError:  # no hard links here: for a moment only `previous` is there, and resume finds it
        os.replace(path, previous)
        return
    os.replace(second, previous)
    second.unlink(missing_ok=True)  # renaming does nothing where both names are of one file already


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:
        pass  # some network file systems do not let folders be flushed; the rename itself has happened
    finally:
        os.close(handle)


def verify(path: Path) -> None:
    """Raises Damaged where the file is not whole; FileNotFoundError where there is none.

    A checkpoint without a digest (of an older run) is held to the checksums of its archive.
    """
    length = path.stat().st_size - COMMENT - 2
    with path.open("rb") as file:
        file.seek(max(length, 0))
        tail = file.read()
        if tail[: 2 + len(MARK)] != struct.pack("<H", COMMENT) + MARK:
            _verify_archive(file)
            return
        file.seek(0)
        digest = hashlib.sha256()
        while length > 0:
            block = file.read(min(BLOCK, length))
            digest.update(block)
            length -= len(block)
        digest.update(b"\0\0")  # what stood in the place of the comment's length
    if digest.hexdigest().encode() != tail[2 + len(MARK) :]:
        raise Damaged("its content does not match its SHA-256")


def _verify_archive(file: IO[bytes]) -> None:
    try:
        with zipfile.ZipFile(file) as archive:
            if archive.comment:  # the beginning of a digest
                raise Damaged(CUT)
            bad = archive.testzip()
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError):
        raise Damaged(CUT) from None
    if bad is not None:
        raise Damaged(f"{bad} in it does not match its checksum")


def read(path: Path) -> dict[str, Any]:
    """The content of a checkpoint on the CPU. Raises Damaged; FileNotFoundError."""
    verify(path)
    content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return content


def mend(folder: Path) -> str | None:
    """Sees to it that `last.ckpt` is whole: where it is not, `previous.ckpt` takes its place and the reason is returned.

    The damaged file stays as last.ckpt.damaged. Raises Damaged where neither is whole, FileNotFoundError where neither is there.
    """
    last, previous = folder / LAST, folder / PREVIOUS
    try:
        verify(last)
        return None
    except FileNotFoundError:
        if not previous.is_file():
            raise
        reason = "it is missing"
    except Damaged as error:
        reason = str(error)
    try:
        verify(previous)
    except (FileNotFoundError, Damaged):
        raise Damaged(f"{reason}, and there is no whole {PREVIOUS} beside it") from None
    if last.is_file():
        os.replace(last, last.with_name(f"{LAST}.damaged"))
    os.replace(previous, last)
    return reason
