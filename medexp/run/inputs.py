"""What `medexp predict` finds at --input: cases in the layout that the run was trained on, or plain images."""

from __future__ import annotations

import logging
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from medexp.data.images import DICOM, stem, suffix
from medexp.data.module import DataModule
from medexp.data.records import Record
from medexp.data.select import selected
from medexp.data.sources import bids, dicom, nifti_folder, nnunet, object_masks
from medexp.data.sources.folders import images_below, sorted_unique
from medexp.errors import Faults, UserError, counted
from medexp.run.tables import of_table, participants

log = logging.getLogger(__name__)
One = TypeVar("One", Path, Record)
UNLABELLED: dict[Any, dict[str, Any]] = {  # options that ask a source for images alone
    nifti_folder.records: {"label": None, "allow_missing": True},
    bids.records: {"label": None, "target": None, "allow_missing": True},
}
NUMBERED = re.compile(r"(.+)_(\d{4})")  # nnU-Net's names: case and channel
COLOURS = (".png", ".bmp", ".tif")  # endings whose colours nnU-Net keeps in one file


def inputs(source: Path, data: DataModule, output: Path | None = None) -> list[Record]:
    """Cases of a file or folder for a run's model, without labels; what was found where is logged.

    A folder is listed as the run's own data set was (patterns of nifti_folder, BIDS, nnU-Net's CASE_0000). Where that
    finds nothing its images are taken (with several channels CASE_0000, CASE_0001 ... are one case), those of folders
    below where it holds none itself, or the DICOM series in it and below. Files named like the run's label maps are left
    out, and so is `output` below it. A table (CSV) names the images of each case (tables.py). Raises UserError.
    """
    if not source.exists():
        raise UserError(f"--input: {source} does not exist; give an image or a folder of images")
    if source.is_file() and source.suffix.lower() == ".csv":
        return sorted_unique(_complete(of_table(source, data), source, data), source)
    if source.is_file() and not suffix(source):
        raise UserError(f"--input: {source} is no image that can be read; give an image or a folder of images")
    found = plain([source], source.parent, data) if source.is_file() else _of_folder(source.absolute(), data, output)
    return sorted_unique(_complete(found, source, data), source)


def _of_folder(source: Path, data: DataModule, output: Path | None) -> list[Record]:
    top, labels = images_below(source), label_globs(data.source)
    found = _unlabelled(_own_layout(source, data), lambda record: record.files, labels)
    if found:
        taken = {path for record in found for path in record.files}
        aside = [path for path in top if path not in taken]
        log.info("%s: %s in the layout that the run was trained on", source, counted(len(found), "case"))
        if aside:
            log.info("%s: %d other images are left aside (e.g. %s)", source, len(aside), aside[0].name)
        return found
    below = top or [path for folder in _folders(source, output) for path in images_below(folder)]
    pictures = [path for path in below if suffix(path) not in DICOM]
    if getattr(data.source, "func", None) is dicom.records or all(suffix(path) in DICOM for path in top):
        if series := _series(source, data, pictures):
            return series
        below = pictures or below
    images = _unlabelled(below, lambda path: (path,), labels)
    if not images:
        raise UserError(f"--input: {source} holds no image that can be read, nor do folders in it; {forms(data)}")
    found = plain(images, source, data)
    folders = len({path.parent for path in images})
    where = "it" if top else f"{counted(folders, 'folder')} below it"
    log.info("%s: %s in %s, %s", source, counted(len(images), "image"), where, counted(len(found), "case"))
    return found


def _series(source: Path, data: DataModule, others: Sequence[Path]) -> list[Record]:
    try:
        series = dicom.records(source, spatial_dims=3 if data.plane is not None else data.preparation.spatial_dims)
    except Faults as error:
        if not others:
            raise
        log.info("left aside: %s", error.headline)
        return []
    if series:
        log.info("%s: %d DICOM cases", source, len(series))
        if others:
            log.info("%s: %d images that are not DICOM are left aside (e.g. %s)", source, len(others), others[0])
    return series


def _own_layout(source: Path, data: DataModule) -> list[Record]:
    """Cases in the layout of the run's data set; none where the folder has another one. Raises Faults."""
    func = getattr(data.source, "func", None)
    if func is nnunet.records:
        folders = [folder for name in ("imagesTs", "imagesTr") if (folder := source / name).is_dir()] or [source]
        return [record for folder in folders for record in _nnunet(folder, data.preparation.file_channels)]
    if func not in UNLABELLED:
        return []
    listing = partial(data.source, **UNLABELLED[func])
    if func is bids.records and (told := participants(source, data)):
        listing = partial(listing, covariates=told)
    try:
        if found := listing(source):
            return found
    except Faults:
        raise
    except UserError:  # nothing here is named like that
        pass
    depth = max(text.count("/") for text in (_patterns(data) or ["sub-*/ses-*/anat/*"]))
    for root in source.parents[: depth if data.preparation.file_channels > 1 else 0]:  # the folder of one patient
        try:
            found = [record for record in listing(root) if all(path.is_relative_to(source) for path in record.files)]
        except (UserError, OSError):  # of a neighbour; what is asked for is looked at by itself next
            continue
        if found:
            return found
    return []


def _patterns(data: DataModule) -> list[str]:
    """Of a folder of volumes (nifti_folder); none of another data set."""
    if getattr(data.source, "func", None) is not nifti_folder.records:
        return []
    images = getattr(data.source, "keywords", {}).get("images", "{case}.nii.gz")
    return [images] if isinstance(images, str) else list(images)


def _nnunet(folder: Path, channels: int) -> list[Record]:
    """CASE_0000 ...: a record a case; none where a file is named otherwise."""
    paths = images_below(folder)
    names = [NUMBERED.fullmatch(stem(path)) for path in paths]
    if not all(names):
        return []
    cases: dict[str, dict[int, Path]] = defaultdict(dict)
    for path, match in zip(paths, names, strict=True):
        assert match is not None
        cases[match[1]][int(match[2])] = path
    if any(number >= channels for files in cases.values() for number in files):
        return []
    colour = channels in (3, 4) and all(suffix(path) in COLOURS for path in paths)
    one_file = colour and all(set(files) == {0} for files in cases.values())
    numbers = range(1 if one_file else channels)
    return [Record(case, tuple(files.get(number) for number in numbers)) for case, files in cases.items()]


def label_globs(source: Any) -> list[str]:
    """Ends of paths that the label maps of a run's data set have, as globs."""
    func, options = getattr(source, "func", None), getattr(source, "keywords", {})
    globs = ["labelsTr/*", "labelsTs/*"]  # Decathlon, nnU-Net
    if func is nifti_folder.records and options.get("label"):
        globs.append(re.sub(r"\{\w+\}", "*", options["label"].replace("[", "[[]")))
    elif func is bids.records and options.get("label"):
        globs.append(f"*_{options.get('label_suffix', 'dseg')}.*")
    elif func is dicom.records and options.get("labels"):
        labels = options["labels"]
        globs.append(labels.replace("{case}", "*") if "{case}" in labels else f"{labels}/*")
    elif func is object_masks.records:
        globs.append(f"{options.get('masks', 'masks')}/*")
    return globs


def _unlabelled(found: list[One], files: Callable[[One], Sequence[Path]], globs: Sequence[str]) -> list[One]:
    """Less what is named like a label map; all of it where everything is, as then nothing tells it from images."""
    kept = [one for one in found if not all(any(path.match(glob) for glob in globs) for path in files(one))]
    if kept and len(kept) < len(found):
        log.info("%d label maps are left out (named like %s)", len(found) - len(kept), " or ".join(globs))
    return kept or found


def _folders(root: Path, output: Path | None) -> Iterator[Path]:
    """The folders below a root, sorted, each once whatever links lead to it; hidden ones and `output` are passed over."""
    seen = {_identity(folder) for folder in (root, output) if folder is not None and folder.is_dir()}

    def refuse(error: OSError) -> None:
        raise UserError(f"--input: {error.filename} cannot be looked through ({error.strerror}); mend its permissions")

    for parent, names, _ in os.walk(root, onerror=refuse, followlinks=True):
        below = [Path(parent, name) for name in sorted(names) if not name.startswith(".")]
        names.clear()
        for folder in below:
            if _identity(folder) not in seen:
                seen.add(_identity(folder))
                names.append(folder.name)
                yield folder


def _identity(folder: Path) -> tuple[int, int]:
    facts = folder.stat()
    return facts.st_dev, facts.st_ino


def plain(paths: Sequence[Path], root: Path, data: DataModule) -> list[Record]:
    """A record an image, its id the path below `root`; with several channels CASE_0000, CASE_0001 ... are one. Raises
    Faults where numbers and channels do not fit."""
    channels = data.preparation.file_channels
    cases: dict[str, list[tuple[int, Path]]] = defaultdict(list)
    for path in paths:
        match = NUMBERED.fullmatch(stem(path)) if channels > 1 else None
        name, number = (match[1], int(match[2])) if match else (stem(path), -1)
        cases["_".join([*path.relative_to(root).parent.parts, name])].append((number, path))
    if channels == 1:
        return [Record(case, (path,)) for case, files in cases.items() for _, path in files]
    numbered = all(number >= 0 for files in cases.values() for number, _ in files)
    apart = any(len(files) > 1 for files in cases.values()) or (numbered and data.missing == "zero")
    found, odd = [], []
    for case, files in cases.items():
        by_number = dict(files)
        if len(files) == 1 and (not apart or files[0][0] < 0):
            found.append(Record(case, (files[0][1],)))
        elif len(by_number) < len(files) or not set(by_number) <= set(range(channels)):
            names = ", ".join(path.name for _, path in files)
            odd.append(f"case {case} has {len(files)} files, the model takes {channels} channels: {names}")
        else:
            found.append(Record(case, tuple(by_number.get(number) for number in range(channels))))
    if odd:
        raise Faults(f"--input: {len(odd)} cases do not fit; {forms(data)}", odd)
    return found


def _complete(found: list[Record], source: Path, data: DataModule) -> list[Record]:
    """What becomes of cases that lack a channel is as in training (dataset.missing). Raises Faults."""
    lacking = [record for record in found if record.missing]
    if lacking and data.missing == "error":
        problems = [
            f"case {record.case_id} has {len(record.files)} files, the model takes {data.preparation.file_channels} channels: "
            f"none for channel {', '.join(map(str, record.missing))}"
            for record in lacking
        ]
        headline = f"--input: {len(lacking)} of {len(found)} cases lack a channel, which the run was not trained for"
        raise Faults(f"{headline} (dataset.missing); {forms(data)}", problems)
    if lacking and data.missing == "zero":
        names = ", ".join(sorted({str(number) for record in lacking for number in record.missing}))
        log.warning(
            "%d of %d cases lack a channel (%s): the network is told that it is not there (dataset.missing=zero)",
            len(lacking), len(found), names,
        )  # fmt: skip
    return selected(found, source, None, data.missing)


def forms(data: DataModule) -> str:
    """What predict takes for a model."""
    channels = data.preparation.file_channels
    if channels == 1:
        volumes = data.preparation.spatial_dims == 3 or data.plane is not None
        return f"give {'3D ' * volumes}images of one channel: a file, a folder of them, or a DICOM series"
    own = f", or folders as in training: {', '.join(_patterns(data))}" if _patterns(data) else ""
    if getattr(data.source, "func", None) is bids.records:
        own = ", or BIDS folders as in training"
    return f"give a case as one file with all {channels} channels, as files CASE_0000 to CASE_{channels - 1:04d}{own}"
