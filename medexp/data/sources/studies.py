"""Studies of several frames as folders hold them: a 4D scan each, or a folder of frames each."""

from __future__ import annotations

import logging
import re
from filecmp import cmp
from pathlib import Path

from medexp.data.formats.picture import PICTURES
from medexp.data.images import DICOM, header, stem, suffix
from medexp.data.records import Record
from medexp.data.sources import dicom
from medexp.data.sources.folders import images_below, need_folder, sorted_unique
from medexp.errors import UserError

log = logging.getLogger(__name__)


def records(root: Path, *, spatial_dims: int = 3, pattern: str = "*", distinct: bool = False) -> list[Record]:
    """A record a study, its id the path below the root.

    A file with one axis more than `spatial_dims` (a 4D scan, a stack of pictures) is a study, its last axis time. The
    other images of a folder are the frames of one study, in the order of their names, numbers by value (9 before 10). A
    DICOM series of several time points is one. Hidden folders are passed over. pattern: of the file names that count.
    distinct: a frame that is byte for byte the one before is left out, and said (as converters of films leave them).
    Raises UserError where nothing is found.
    """
    need_folder(root)
    folders = [root, *sorted(path for path in root.rglob("*") if path.is_dir() and not _hidden(path, root))]
    found = [study for folder in folders for study in _of_folder(folder, root, spatial_dims, pattern)]
    if distinct:
        found = [_without_repeats(study) for study in found]
    if not found:
        raise UserError(f"dataset.root: no study of several frames in {root} (files: {pattern}); set dataset.root=PATH")
    return sorted_unique(found, root)


def _hidden(path: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(root).parts)


def _of_folder(folder: Path, root: Path, spatial_dims: int, pattern: str) -> list[Record]:
    """Studies of the images directly in a folder."""
    paths = [path for path in images_below(folder) if path.match(pattern)]
    if any(suffix(path) in DICOM for path in paths) and spatial_dims == 3:
        series = [record for record in dicom.records(folder) if record.files[0] == folder]
        name = _name(folder, root)
        return [_renamed(record, name if len(series) == 1 else f"{name}_{i}") for i, record in enumerate(series)]
    whole = [path for path in paths if _has_time(path, spatial_dims)]
    frames = sorted((path for path in paths if path not in whole), key=_by_number)
    found = [Record(_name(path, root), (path,)) for path in whole]
    if frames and whole:
        log.info("%s: %d images without an axis of time are left aside (e.g. %s)", folder, len(frames), frames[0].name)
    elif len(frames) > 1:
        found.append(Record(_name(folder, root), tuple(frames)))
    elif frames:
        log.info("%s: one image is no study of several frames, and is left aside", frames[0])
    return found


def _without_repeats(study: Record) -> Record:
    """The study less the files that repeat the one before; when a frame was taken is its number among all."""
    kept = [i for i, path in enumerate(study.files) if not i or not cmp(study.files[i - 1], path, shallow=False)]
    if len(kept) == len(study.files):
        return study
    log.info("%s: %d frames repeat the one before and are left out", study.case_id, len(study.files) - len(kept))
    return Record(study.case_id, tuple(study.images[i] for i in kept), times=tuple(map(float, kept)))


def _renamed(record: Record, name: str) -> Record:
    return Record(name, record.images, patient_id=record.patient_id, member=record.member)


def _has_time(path: Path, spatial_dims: int) -> bool:
    if suffix(path) in PICTURES:
        return False
    try:
        shape = header(Record(stem(path), (path,))).shape
    except UserError:
        return False  # a colour picture; what is broken is named when it is read
    return len(shape) == spatial_dims + 1 and shape[-1] > 1


def _name(path: Path, root: Path) -> str:
    parts = path.relative_to(root).parts
    if not parts:
        return root.resolve().name
    last = stem(path) if path.is_file() else parts[-1]
    return "_".join([*parts[:-1], last])


def _by_number(path: Path) -> list[tuple[int, str]]:
    """Names with numbers in them by value: t2 before t10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)]
