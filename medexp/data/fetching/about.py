"""What a named data set says of itself: licence, citation, page, and the files that may be downloaded directly."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from medexp.errors import Faults, UserError, nearest

SUMS = {"md5": 32, "sha256": 64}  # hexadecimal digits
ARCHIVES = ("zip", "tar")  # hold many files; gz holds one
UNPACK = (*ARCHIVES, "gz")
KEYS = ("licence", "cite", "page", "files", "get")
FILE_KEYS = ("url", *SUMS, "unpack", "to", "size")


@dataclass(frozen=True)
class RemoteFile:
    """A file to download.

    sums: published checksums of the file as it is served, by algorithm. to: where it ends up below the root: a folder for
    zip and tar (the root itself where None), a file's path for all others ("name/" is a folder that keeps the file's own
    name). size: bytes, for people.
    """

    url: str
    sums: dict[str, str] = field(hash=False)
    unpack: str | None = None
    to: str | None = None
    size: int | None = None

    @property
    def name(self) -> str:
        """The file's own name, from its address."""
        last = PurePosixPath(unquote(urlsplit(self.url).path)).name
        return re.sub(r"[^\w.+()=,@ -]", "_", last) or "file"

    @property
    def place(self) -> Path:
        """Where its content lies, relative to the root; "." is the root."""
        if self.unpack in ARCHIVES:
            return Path(self.to or ".")
        name = self.name.removesuffix(".gz") if self.unpack == "gz" else self.name
        if self.to is None:
            return Path(name)
        return Path(self.to, name) if self.to.endswith("/") else Path(self.to)


@dataclass(frozen=True)
class About:
    """A named data set's terms and source. `files` is empty where it has to be got by hand, as `get` says."""

    licence: str
    cite: str
    page: str
    files: tuple[RemoteFile, ...] = ()
    get: str | None = None

    @property
    def size(self) -> int | None:
        """Bytes to download, or None where they are not known."""
        sizes = [file.size for file in self.files if file.size is not None]
        return sum(sizes) if sizes and len(sizes) == len(self.files) else None

    def is_one_file(self, root: Path) -> bool:
        """Whether the root itself is the one file (a MedMNIST .npz), not a folder that holds it."""
        if len(self.files) != 1 or self.files[0].unpack in ARCHIVES:
            return False
        return root.suffix != "" and root.suffix.lower() == self.files[0].place.suffix.lower()


def read_about(node: Any, where: str) -> About:
    """`about` of a leaf, held against what it may say. Raises UserError or Faults naming every key that is wrong."""
    if not isinstance(node, dict):
        raise UserError(f"{where}: is {_seen(node)}; give a mapping of {', '.join(KEYS)}")
    problems = _unknown(node, KEYS, where)
    for key in ("licence", "cite", "page", "get"):
        needed = key != "get" or not node.get("files")
        problems += _text(node, key, where, needed)
    if isinstance(node.get("page"), str) and not _web(node["page"]):
        problems.append(f"{where}.page: '{node['page']}' is no address; give one that begins with https:// or http://")
    entries = node.get("files") or []
    if not isinstance(entries, list):
        problems.append(f"{where}.files: is {_seen(entries)}; give a list of {{url, md5, unpack, to}}")
        entries = []
    for index, entry in enumerate(entries):
        problems += _file_problems(entry, f"{where}.files[{index}]")
    if len(problems) == 1:
        raise UserError(problems[0])
    if problems:
        raise Faults(f"{len(problems)} problems in {where}", problems)
    files = tuple(_file(entry) for entry in entries)
    if twice := _twice(files):
        raise UserError(f"{where}.files: {twice} is the place of two files; set their `to`")
    return About(node["licence"], node["cite"], node["page"], files, node.get("get"))


def _twice(files: tuple[RemoteFile, ...]) -> str:
    """A place that two files want; archives may share a folder."""
    places = [str(file.place) for file in files if file.unpack not in ARCHIVES]
    return next((place for place in places if places.count(place) > 1), "")


def _file(entry: dict[str, Any]) -> RemoteFile:
    sums = {name: entry[name].lower() for name in SUMS if entry.get(name)}
    return RemoteFile(entry["url"], sums, entry.get("unpack"), entry.get("to"), entry.get("size"))


def _file_problems(entry: Any, where: str) -> list[str]:
    if not isinstance(entry, dict):
        return [f"{where}: is {_seen(entry)}; give {{url, md5, unpack, to}}"]
    problems = _unknown(entry, FILE_KEYS, where) + _text(entry, "url", where, needed=True)
    for key in (*SUMS, "unpack", "to"):
        problems += _text(entry, key, where, needed=False)
    size = entry.get("size")
    if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 0):
        problems.append(f"{where}.size: is {_seen(size)}; give the number of bytes")
    if problems:
        return problems
    if not _web(entry["url"]):
        problems.append(f"{where}.url: '{entry['url']}' cannot be downloaded; addresses begin with https:// or http://")
    for name, digits in SUMS.items():
        if entry.get(name) and not re.fullmatch(rf"[0-9a-fA-F]{{{digits}}}", entry[name]):
            problems.append(f"{where}.{name}: '{entry[name]}' is not {digits} hexadecimal digits")
    if entry.get("unpack") not in (None, *UNPACK):
        near = nearest(entry["unpack"], list(UNPACK)) or ";"
        problems.append(f"{where}.unpack: no kind of archive '{entry['unpack']}'{near} allowed: {', '.join(UNPACK)}")
    return problems or _to_problems(_file(entry), where)


def _to_problems(file: RemoteFile, where: str) -> list[str]:
    if file.to is None:
        return []
    if not file.to.strip("/.") or file.to.startswith("/") or ".." in Path(file.to).parts or "\0" in file.to:
        return [f"{where}.to: '{file.to}' does not lie below the root; give a path relative to dataset.root"]
    own = Path(file.name.removesuffix(".gz") if file.unpack == "gz" else file.name).suffix
    if file.unpack not in ARCHIVES and own and not file.to.endswith("/") and not Path(file.to).suffix:
        return [f"{where}.to: '{file.to}' would be a file without '{own}'; write '{file.to}/' for a folder"]
    return []


def _unknown(node: dict[Any, Any], allowed: tuple[str, ...], where: str) -> list[str]:
    return [
        f"{where}.{key}: no such key{nearest(str(key), list(allowed)) or ';'} allowed: {', '.join(allowed)}"
        for key in node
        if key not in allowed
    ]


def _text(node: dict[Any, Any], key: str, where: str, needed: bool) -> list[str]:
    value = node.get(key)
    if value is None:
        return [f"{where}.{key}: is missing; give a sentence or an address"] if needed else []
    if not isinstance(value, str):
        return [f"{where}.{key}: is {_seen(value)}; give text (in quotes, where it is all digits)"]
    return [] if value.strip() else [f"{where}.{key}: is empty"]


def _seen(value: Any) -> str:
    return "empty" if value is None else f"{type(value).__name__} {str(value)[:60]!r}"


def _web(address: str) -> bool:
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    plain = re.fullmatch(r"[!-~]+", address)
    return parts.scheme in ("http", "https") and bool(parts.hostname) and plain is not None
