"""Real file systems that are small, or that become read-only, where the test may mount any."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SUDO = [] if os.geteuid() == 0 else ["sudo", "-n"]


def _ran(*words: str) -> bool:
    try:
        return subprocess.run([*SUDO, *words], capture_output=True, check=False, timeout=20).returncode == 0
    except OSError:
        return False


@contextmanager
def small(folder: Path, size: str) -> Iterator[Path]:
    """`folder` as a file system of its own, of `size` (tmpfs); skips the test where that may not be."""
    folder.mkdir()
    if not _ran("mount", "-t", "tmpfs", "-o", f"size={size},uid={os.geteuid()},mode=700", "none", str(folder)):
        pytest.skip("needs the right to mount a small tmpfs")
    try:
        yield folder
    finally:
        assert _ran("umount", "--lazy", str(folder))


@contextmanager
def refusing(folder: Path) -> Iterator[None]:
    """Within: nothing can be written to `folder`. Permissions do not stop root, a read-only mount does."""
    if os.geteuid() != 0:
        folder.chmod(0o500)
        try:
            yield
        finally:
            folder.chmod(0o700)
        return
    place = str(folder)
    if not _ran("mount", "--bind", place, place):
        pytest.skip("needs the right to mount a folder read-only")
    try:
        assert _ran("mount", "-o", "remount,ro,bind", place)
        yield
    finally:
        assert _ran("umount", "--lazy", place)


def fill(folder: Path) -> Path:
    """A file that takes all the room that is left."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for block in (1 << 16, 1 << 9, 1):
            try:
                while file.write(b"\0" * block) == block:
                    pass
            except OSError:
                continue
    return ballast
