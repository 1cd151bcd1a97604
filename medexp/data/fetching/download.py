"""A file from the web: resumed where it was dropped, verified, and under its own name only when it is whole."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from medexp.data.fetching.web import CHUNK, Dropped, Origin, Stale, Stream, Unreachable, connect, host
from medexp.errors import UserError

BACK_OFF = (1.0, 2.0, 4.0, 8.0, 16.0)  # s before the next attempt, after attempts that brought nothing new
GAIN = 1 << 20  # bytes that count as something new

Say = Callable[[str], None]
Show = Callable[[int, int | None], None]


def download(url: str, path: Path, sums: dict[str, str], say: Say, room: float = 1.0) -> None:
    """Downloads `url` to `path`: the whole file with the right checksums, or nothing under that name.

    What a dropped connection leaves is `path`.part (and `path`.part.json: the version that it is a part of), from which
    the next call goes on. sums: {algorithm: hexadecimal digits}. room: free disk space needed, as a multiple of the file's
    length. Raises Unreachable (no such host or file, a web page in its place, too many dropped connections) and UserError
    (no space, wrong checksum).
    """
    failures, most = 0, 0
    with bar(f"downloading {path.name}") as show:
        while True:
            try:
                _attempt(url, path, verified=bool(sums), room=room, say=say, show=show)
                break
            except Dropped as fault:
                held = _size(part_of(path))
                failures = 1 if held >= most + GAIN else failures + 1
                most = max(most, held)
                if isinstance(fault, Stale):
                    _discard(path)
                _pause(url, path, fault, failures, say)
    part = part_of(path)
    if wrong := mismatch(part, sums):
        _discard(path)
        raise UserError(
            f"{path.name}: what {host(url)} sent {wrong}; it was removed: try again later, or ask its maintainers"
        )
    with _writing(path):
        part.replace(path)
        _discard(path)


def mismatch(path: Path, sums: dict[str, str]) -> str:
    """`has md5 X, published is Y` for a file whose checksum is wrong, or nothing. Reads the file to its end."""
    hashes = {name: hashlib.new(name, usedforsecurity=False) for name in sums}
    if not hashes:
        return ""
    done, total = 0, path.stat().st_size
    with path.open("rb") as file, bar(f"verifying {path.name}") as show:
        while chunk := file.read(CHUNK):
            for running in hashes.values():
                running.update(chunk)
            show(done := done + len(chunk), total)
    found = {name: running.hexdigest() for name, running in hashes.items()}
    wrong = [
        f"has {name} {found[name]}, published is {sums[name]}" for name in sums if found[name] != sums[name].lower()
    ]
    return " and ".join(wrong)


def _attempt(url: str, path: Path, *, verified: bool, room: float, say: Say, show: Show) -> None:
    """One connection: goes on where the .part ends, or starts over. Raises Dropped where it ends too early."""
    part = part_of(path)
    before = _resumable(path, url, verified)
    have = _size(part) if before else 0
    if before and before.length == have:
        return
    with connect(url, have, before) as stream:
        if have and not stream.start:
            say(
                f"{path.name}: {host(url)} does not go on from {size(have)} (the file has changed, or it cannot); starting over"
            )
        if stream.response.headers.get_content_type() == "text/html" and not path.suffix.startswith(".htm"):
            what = f"answers with a web page in place of {path.name} (it asks for a log-in, or the file has moved)"
            raise Unreachable(f"{host(url)} {what}")
        _need_room(path, stream, room)
        _receive(stream, path, show)


def _receive(stream: Stream, path: Path, show: Show) -> None:
    held = stream.start
    with _writing(path):
        if not held:
            _discard(path)
        _state(path).write_text(json.dumps(asdict(stream.origin)), encoding="utf-8")
        file = part_of(path).open("ab")
    with file:
        show(held, stream.origin.length)
        for chunk in stream.chunks():
            with _writing(path):
                file.write(chunk)
            show(held := held + len(chunk), stream.origin.length)
        with _writing(path):
            file.flush()
            os.fsync(file.fileno())


def _resumable(path: Path, url: str, verified: bool) -> Origin | None:
    """What the .part is a part of; None where it cannot be gone on with. verified: a checksum will tell in the end."""
    try:
        before = Origin(**json.loads(_state(path).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    have = _size(part_of(path))
    certain = before.mark or (verified and before.length)
    if before.url != url or not have or not certain or have > (before.length or have):
        return None
    return before


def _need_room(path: Path, stream: Stream, room: float) -> None:
    length = stream.origin.length
    if length is None:
        return
    needed, free = int(length * room) - stream.start, shutil.disk_usage(path.parent).free
    if needed > free:
        raise UserError(
            f"{path.name} needs {size(needed)} of disk space, {path.parent} has {size(free)}; free some, or give --root"
        )


def _pause(url: str, path: Path, fault: Dropped, failures: int, say: Say) -> None:
    """Waits before the next attempt. Raises Unreachable after too many."""
    if failures > len(BACK_OFF):
        held = _size(part_of(path))
        kept = f"; {size(held)} are kept, the same command goes on from there" if held else ""
        raise Unreachable(f"cannot reach {host(url)} ({fault}, {failures} times){kept}")
    wait = max(BACK_OFF[failures - 1], fault.pause)
    say(f"{path.name}: {host(url)}: {fault}; attempt {failures + 1} in {wait:g} s")
    time.sleep(wait)


def part_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def _state(path: Path) -> Path:
    return path.with_name(f"{path.name}.part.json")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _discard(path: Path) -> None:
    part_of(path).unlink(missing_ok=True)
    _state(path).unlink(missing_ok=True)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        mend = "free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "mend that"
        raise UserError(f"{path.parent}: cannot write ({error.strerror}); {mend}, or give --root") from None


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """A working folder of one process at a time, made where there is none and removed when it is left empty.

    Raises UserError where another process holds it; a killed one holds nothing.
    """
    import fcntl

    while True:
        with _writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            raise UserError(f"{folder}: another process is fetching this; wait for it, or stop it first") from None
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), folder.stat()):
                break
        os.close(handle)  # the other process removed it just before we held it
    try:
        yield
    finally:
        with suppress(OSError):  # it is not empty
            folder.rmdir()
        os.close(handle)


@contextmanager
def bar(text: str) -> Iterator[Show]:
    """A bar in bytes with speed and estimate, where somebody is looking; yields show(done, total)."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    hidden = not sys.stderr.isatty()
    console = Console(stderr=True)
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True, disable=hidden) as progress:
        task = progress.add_task(text, total=None)

        def show(done: int, total: int | None) -> None:
            shown = progress.tasks[0]
            if (
                total != shown.total or done < shown.completed
            ):  # a new start: what is there already says nothing of the speed
                progress.reset(task, completed=done, total=total)
            else:
                progress.update(task, completed=done)

        yield show


def size(count: float) -> str:
    """Bytes for people: 812 bytes, 3.1 MB, 1.5 GB."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count:.0f} bytes"
