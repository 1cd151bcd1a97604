"""The files of a named data set, downloaded beside its root, unpacked there, and moved to the root when all is whole."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from medexp.data.fetching.about import ARCHIVES, About, RemoteFile
from medexp.data.fetching.archives import Refused
from medexp.data.fetching.download import download, lock, mismatch, size
from medexp.data.fetching.unpack import gunzip, lift, merge, unpack
from medexp.data.fetching.web import Unreachable, host
from medexp.errors import UserError

STAGED = ".staged"
ROOM = 2.0  # an archive and its content, which hardly compresses any further

Say = Callable[[str], None]


def holds_data(root: Path) -> bool:
    """Whether there is a file, or a folder with anything in it."""
    return root.is_file() or (root.is_dir() and any(root.iterdir()))


def work_folder(root: Path) -> Path:
    """Beside the root, so that what is whole gets there by a rename."""
    return root.with_name(f"{root.name}.download")


def obtain(about: About, root: Path, keep: bool, say: Say) -> bool:
    """Downloads what is not there yet; whether there was anything. Nothing that is there is ever written over.

    keep: the archives stay in the work folder. Raises UserError (Unreachable with what to do by hand); the root is then as it
    was, and the work folder holds what the same command goes on from.
    """
    root = root.resolve()
    if root.is_file() and not about.is_one_file(root):
        raise UserError(
            f"dataset.root: {root} is a file; the data set is a folder: move it away, or give another --root"
        )
    _verify(about, root, say)
    if not _missing(about, root):
        return False
    work = work_folder(root)
    with lock(work):
        missing = _missing(about, root)  # another process may just have ended
        downloads = {file: _downloaded(file, path, about.page, say) for file, path in _names(missing, work).items()}
        shutil.rmtree(work / STAGED, ignore_errors=True)
        try:
            _stage(about, downloads, root, work / STAGED, say)
            _place(work / STAGED, root)
        except OSError as error:
            raise UserError(
                f"{root}: cannot be written ({error.strerror}); mend that, or give another --root"
            ) from None
        finally:
            shutil.rmtree(work / STAGED, ignore_errors=True)
        _tidy(downloads, keep, say)
    return True


def _place_of(file: RemoteFile, about: About, root: Path) -> Path:
    return root if about.is_one_file(root) else root / file.place


def _missing(about: About, root: Path) -> list[RemoteFile]:
    """Files whose place is empty."""
    missing = []
    for file in about.files:
        place = _place_of(file, about, root)
        if file.unpack in ARCHIVES and place.is_file():
            raise UserError(f"{place}: is a file where {file.name} has a folder; move it away, or give another --root")
        if not (holds_data(place) if file.unpack in ARCHIVES else os.path.lexists(place)):
            missing.append(file)
    return missing


def _verify(about: About, root: Path, say: Say) -> None:
    """Says what is there already. Raises UserError where its checksum is wrong."""
    for file in about.files:
        place = _place_of(file, about, root)
        if file.unpack is None and file.sums and place.is_file():
            if wrong := mismatch(place, file.sums):
                raise UserError(
                    f"{place}: is there already, but {wrong}; move it away, and the same command downloads it anew"
                )
            say(f"{place}: is there already, its {' and '.join(file.sums)} is right")
        elif holds_data(place):
            say(f"{place}: holds data already, which is left as it is (move it away, and it is downloaded anew)")


def _names(files: list[RemoteFile], work: Path) -> dict[RemoteFile, Path]:
    """Where each is downloaded to; the second of two files of one name gets a number."""
    names: dict[RemoteFile, Path] = {}
    for number, file in enumerate(files):
        taken = work / file.name in names.values()
        names[file] = work / (f"{number}_{file.name}" if taken else file.name)
    return names


def _downloaded(file: RemoteFile, path: Path, page: str, say: Say) -> Path:
    kinds = " and ".join(file.sums)
    if path.is_file():
        if wrong := mismatch(path, file.sums):
            raise UserError(f"{path}: {wrong}; remove it, and the same command downloads it anew")
        say(
            f"{path}: is there already, "
            + (f"its {kinds} is right" if kinds else "taken as it is: no checksum is published")
        )
        return path
    say(f"downloading {file.name} from {host(file.url)}" + (f" ({size(file.size)})" if file.size else ""))
    try:
        download(file.url, path, file.sums, say, room=ROOM if file.unpack else 1.0)
    except Unreachable as fault:
        by_hand = f"or get {file.name} by hand ({page}), save it as {path}, and run the same command again"
        raise Unreachable(f"{fault}; {by_hand}") from None
    known = f"its {kinds} is right" if kinds else "not verified: no checksum is published"
    say(f"{file.name}: {size(path.stat().st_size)}, {known}")
    return path


def _stage(about: About, downloads: dict[RemoteFile, Path], root: Path, staged: Path, say: Say) -> None:
    """The layout of the root, below `staged`; archives first, which may fail."""
    one = about.is_one_file(root)
    staged.mkdir()
    for file, path in sorted(downloads.items(), key=lambda item: item[0].unpack is None):
        target = staged / "root" if one else staged / "root" / file.place
        if file.unpack in ARCHIVES:
            say(f"unpacking {path.name}")
            fresh = staged / "archive"
            with _removing(file, path):
                done = unpack(path, fresh, str(file.unpack))
            lift(fresh, _top_names(file, path, about, root))
            merge(fresh, target)
            left = f"; left out, of macOS: {done.left_out}" if done.left_out else ""
            say(f"{path.name}: {done.files} files, {size(done.bytes)}{left}")
        elif file.unpack == "gz":
            with _removing(file, path):
                gunzip(path, target)
        else:
            merge(path, target)


@contextmanager
def _removing(file: RemoteFile, path: Path) -> Iterator[None]:
    """What no checksum vouches for and cannot be unpacked is removed, else the next call would take it as it is again.

    It stays where its content is refused, which no download mends, or the disk is at fault.
    """
    try:
        yield
    except UserError as fault:
        cause = fault.__context__  # what `unpack` met
        if file.sums or isinstance(cause, Refused) or (isinstance(cause, OSError) and cause.strerror):
            raise
        path.unlink(missing_ok=True)
        what = "its checksum is not published, so it was removed: the same command downloads it anew"
        raise UserError(f"{fault}; {what}") from None


def _top_names(file: RemoteFile, path: Path, about: About, root: Path) -> set[str]:
    """Names of a single top folder that only repeats where the archive goes (Task09_Spleen.tar holds Task09_Spleen/).

    Of several archives for one place (training.zip, test.zip), the archive's own name may mean something there.
    """
    alone = sum(other.unpack in ARCHIVES and other.place == file.place for other in about.files) == 1
    stem = re.sub(r"(?i)\.(zip|tgz|tbz2?|txz|tar(\.\w+)?)$", "", file.name)
    return {(root / file.place).name, *([stem] if alone else [])}


def _place(staged: Path, root: Path) -> None:
    root.parent.mkdir(parents=True, exist_ok=True)
    if root.is_dir():
        with suppress(OSError):  # it is not empty
            root.rmdir()
    merge(staged / "root", root)


def _tidy(downloads: dict[RemoteFile, Path], keep: bool, say: Say) -> None:
    for file, path in downloads.items():
        if file.unpack and keep:
            say(f"kept: {path}")
        elif file.unpack:
            path.unlink(missing_ok=True)
