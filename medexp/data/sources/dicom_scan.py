"""Which DICOM series lie below a folder, by their headers; no pixel is read, no patient named."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from medexp.data.formats.dicom import image_series
from medexp.data.formats.dicom_folder import listing, scan_folder
from medexp.data.formats.dicom_header import Header, pseudonym, short
from medexp.data.progress import track
from medexp.errors import Faults

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Series:
    """What a folder holds of one series.

    folder: below the root. name: tells it from the folder's other series, "" where there are none. title: for people.
    patient: hash of the PatientID, "" where there is none. files: names of its image files. frames: images in them.
    size: rows and columns. placed: whether they lie somewhere in space. left_out: why it is no case, "" where it is one.
    """

    folder: Path
    uid: str
    name: str
    title: str
    patient: str
    files: tuple[str, ...]
    frames: int
    size: tuple[int, int]
    placed: bool
    left_out: str = ""


def scan(root: Path, volumes: bool = True) -> list[Series]:
    """The image series below a root; those that are none, or where `volumes` are wanted no volume, are logged by name.
    Headers are read once a process. Raises Faults naming the files where a folder holds none that can be read."""
    folders = list(_walk(root))
    with ThreadPoolExecutor() as pool:
        summaries = pool.map(lambda folder: _summary(root, folder, listing(folder)), folders)
        outcomes = list(track(summaries, len(folders), "reading headers"))
    broken = [fault for _, faults in outcomes for fault in faults]
    if broken:
        raise Faults(f"{len(broken)} DICOM files in {root} cannot be read", broken)
    taken = []
    for series in (series for found, _ in outcomes for series in found):
        why = series.left_out or (_no_volume(series) if volumes else "")
        if why:
            log.info("left out: %s, series %s: %s", series.folder, series.title, why)
        else:
            taken.append(series)
    return taken


def _no_volume(series: Series) -> str:
    if series.frames == 1:
        return "a single image is no volume (dataset.spatial_dims=2 takes it as an image)"
    if not series.placed and len(series.files) == series.frames:
        return "its images have no place in space (no ImagePositionPatient)"
    return ""


@lru_cache(maxsize=65536)
def _summary(root: Path, folder: Path, content: str) -> tuple[list[Series], list[str]]:
    """The series of a folder; the faults of its files where none of them is an image that can be read (else reading
    the series says them)."""
    held = scan_folder(folder)
    images = image_series(held.headers)
    numbers = Counter(headers[0].number for headers in images.values())
    found = []
    for uid, headers in images.items():
        number = headers[0].number
        name = pseudonym(uid)[:8] if number is None or numbers[number] > 1 else str(number)
        found.append(_series(folder.relative_to(root), "" if len(images) == 1 else name, headers))
    others: dict[str, list[Header]] = {}
    for header in held.headers:
        if header.series and header.series not in images:
            others.setdefault(header.series, []).append(header)
    for headers in others.values():
        why = "localizer" if headers[0].frames else f"no image (modality {headers[0].modality or 'not named'})"
        found.append(_series(folder.relative_to(root), "", headers, why))
    return found, [] if images else [f"{folder / fault}" for fault in held.broken]


def _series(folder: Path, name: str, headers: list[Header], left_out: str = "") -> Series:
    first = headers[0]
    frames = [frame for header in headers for frame in header.frames]
    words = ["" if first.number is None else str(first.number), first.description, short(first.series)]
    return Series(
        folder=folder,
        uid=first.series,
        name=name,
        title=" ".join(word for word in words if word),
        patient=first.patient,
        files=tuple(header.path.name for header in headers),
        frames=len(frames),
        size=frames[0].size if frames else (0, 0),
        placed=any(frame.position is not None for frame in frames),
        left_out=left_out,
    )


def _walk(root: Path) -> Iterator[Path]:
    """The root and all folders below it, sorted, each once whatever links lead to it; hidden ones are passed over."""
    seen: set[tuple[int, int]] = set()
    waiting = [root]
    while waiting:
        folder = waiting.pop()
        facts = folder.stat()
        if (facts.st_dev, facts.st_ino) in seen:
            log.info("left out: %s, a link to a folder that was read already", folder)
            continue
        seen.add((facts.st_dev, facts.st_ino))
        yield folder
        with os.scandir(folder) as entries:
            below = sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
        waiting += [folder / name for name in reversed(below)]
