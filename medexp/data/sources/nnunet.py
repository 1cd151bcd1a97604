"""nnU-Net raw folders, version 2: dataset.json, imagesTr/CASE_0000.nii.gz (a file a channel), labelsTr/CASE.nii.gz.

Isensee et al. 2021, Nat. Methods 18:203; the layout: nnU-Net's documentation/dataset_format.md.
"""

from __future__ import annotations

import json
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medexp.data.images import SUFFIXES, suffix
from medexp.data.records import Record
from medexp.data.sources.folders import inside, need_folder, sorted_unique
from medexp.data.sources.msd import patient
from medexp.errors import Faults, UserError

log = logging.getLogger(__name__)
PICTURES = (".png", ".bmp", ".tif")  # the endings whose colours nnU-Net keeps in one file
Case = tuple[tuple[Path | None, ...], Path | None]  # images by channel, label map


@dataclass(frozen=True)
class Description:
    """What dataset.json says. listed: its own list of cases, where it has one."""

    path: Path
    channels: int
    ending: str
    training: int | None
    listed: dict[str, Any] | None


def records(
    root: Path, *, allow_missing: bool = False, with_unlabelled: bool = False, patient_pattern: str | None = None
) -> list[Record]:
    """The labelled cases of a folder DatasetXXX_Name. Images in imagesTs have no labels and are no records: they are for tests.

    allow_missing: cases may lack channels (dataset.missing says what becomes of them); else each is a fault.
    with_unlabelled: images in imagesTr without a label map are listed as well, for something learns from them too; else each is
    a fault.
    patient_pattern: regular expression with one group that finds the patient in a case id; None: one scan a patient.
    """
    need_folder(root)
    said = _description(root / "dataset.json")
    problems: list[str] = []
    cases = _in_folders(root, said, problems, with_unlabelled) if said.listed is None else _listed(root, said)
    for case, (images, label) in cases.items():
        files = [path for path in (*images, label) if path is not None]
        problems += [f"case {case}: {path}: no such file" for path in files if not path.is_file()]
        lacking = [f"{number:04d}" for number, path in enumerate(images) if path is None]
        if lacking and not allow_missing:
            problems.append(
                f"case {case}: has no channel {', '.join(lacking)}; mend it, or set dataset.missing=zero or drop"
            )
    if problems:
        raise Faults(f"{len(problems)} faults in {root}", sorted(problems))
    if said.training is not None and said.training != len(cases):
        seen = f"numTraining is {said.training}, but there are {len(cases)} cases"
        raise UserError(f"{said.path}: {seen}; copy the rest, or mend the number")
    aside = [path for path in _files(root / "imagesTs") if path.name.endswith(said.ending)]
    if aside:
        log.info("%s: %d files in imagesTs have no labels and are left aside", root.name, len(aside))
    found = [
        Record(case, images, label, patient_id=patient(case, patient_pattern))
        for case, (images, label) in cases.items()
    ]
    return sorted_unique(found, root)


def _description(path: Path) -> Description:
    if not path.is_file():
        raise UserError(f"dataset.root: {path.parent} has no dataset.json; set dataset.root=PATH of a DatasetXXX_Name")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        channels, labels, ending = content["channel_names"], content["labels"], content["file_ending"]
    except (ValueError, KeyError, TypeError) as error:
        hint = "it needs channel_names, labels, file_ending (a Decathlon folder: dataset=msd)"
        raise UserError(f"{path}: is no nnU-Net description ({type(error).__name__}: {error}); {hint}") from None
    if not isinstance(channels, dict) or sorted(map(str, channels)) != sorted(map(str, range(len(channels)))):
        raise UserError(f'{path}: channel_names is {channels}; {{"0": NAME, "1": NAME, ...}} is expected')
    _check_labels(path, labels)
    if not isinstance(ending, str) or suffix(Path("case" + ending)) != ending.lower():
        raise UserError(f"{path}: files that end in {ending!r} cannot be read; known: {' '.join(SUFFIXES)}")
    training, listed = content.get("numTraining"), content.get("dataset")
    if listed is not None and not isinstance(listed, dict):
        raise UserError(f"{path}: 'dataset' is a {type(listed).__name__}; {{CASE: {{images, label}}}} is expected")
    if training is not None and not isinstance(training, int):
        raise UserError(f"{path}: numTraining is {training!r}, not a whole number; mend the file")
    return Description(path, len(channels), ending, training, listed)


def _check_labels(path: Path, labels: Any) -> None:
    """Names with consecutive whole numbers from 0, which are the indices of dataset.classes."""
    if not isinstance(labels, dict) or not labels:
        raise UserError(f"{path}: labels is {labels}; {{NAME: NUMBER, ...}} is expected")
    regions = [name for name, value in labels.items() if isinstance(value, list)]
    if regions:
        what = f"{', '.join(regions)} are regions of several labels, which cannot be trained yet"
        raise UserError(f"{path}: {what}; name one number for each label")
    if any(not isinstance(value, int) for value in labels.values()):
        raise UserError(f"{path}: labels is {labels}; {{NAME: NUMBER}} is expected (number: name is version 1, or msd)")
    if "ignore" in labels:
        raise UserError(f"{path}: label 'ignore' marks voxels to leave out, which is not supported; relabel them")
    if sorted(labels.values()) != list(range(len(labels))):
        raise UserError(f"{path}: labels are numbered {sorted(labels.values())}; 0 (background), 1, 2, ... is expected")


def _in_folders(root: Path, said: Description, problems: list[str], with_unlabelled: bool) -> dict[str, Case]:
    for name in ("imagesTr", "labelsTr"):
        if not (root / name).is_dir():
            raise UserError(f"dataset.root: {root} has no folder {name}; set dataset.root=PATH of a DatasetXXX_Name")
    images: dict[str, dict[int, Path]] = {}
    for path in (path for path in _files(root / "imagesTr") if path.name.endswith(said.ending)):
        match = re.fullmatch(r"(.+)_(\d{4})", path.name.removesuffix(said.ending))
        if match is None or int(match.group(2)) >= said.channels:
            allowed = f"CASE_0000{said.ending} to CASE_{said.channels - 1:04d}{said.ending}"
            problems.append(f"{path}: its name gives no channel of channel_names; {allowed} are expected")
        else:
            images.setdefault(match.group(1), {})[int(match.group(2))] = path
    labels = [path for path in _files(root / "labelsTr") if path.name.endswith(said.ending)]
    names = {path.name.removesuffix(said.ending) for path in labels}
    problems += [
        f"{path}: a label map without an image" for path in labels if path.name.removesuffix(said.ending) not in images
    ]
    if not images and not problems:
        raise UserError(f"{root / 'imagesTr'}: no file ends in {said.ending} (file_ending of dataset.json)")
    colour = (
        said.ending.lower() in PICTURES
        and said.channels in (3, 4)
        and all(set(each) == {0} for each in images.values())
    )
    numbers = range(1 if colour else said.channels)
    if not with_unlabelled:
        hint = "mend it, move its images away, or learn from such cases as well (learning=mean_teacher and the like)"
        problems += [f"case {case}: has no label map in labelsTr; {hint}" for case in images if case not in names]
    return {
        case: (
            tuple(each.get(number) for number in numbers),
            root / "labelsTr" / f"{case}{said.ending}" if case in names else None,
        )
        for case, each in images.items()
        if case in names or with_unlabelled
    }


def _listed(root: Path, said: Description) -> dict[str, Case]:
    cases: dict[str, Case] = {}
    for case, entry in (said.listed or {}).items():
        where = f"{said.path}: dataset.{case}"
        images = entry.get("images") if isinstance(entry, dict) else None
        if not isinstance(images, list) or not isinstance(entry.get("label"), str):
            raise UserError(f"{where} is no {{images: [FILE, ...], label: FILE}}; mend the file")
        if len(images) not in (said.channels, 1):
            raise UserError(f"{where} has {len(images)} images for {said.channels} channel_names; name one for each")
        files = [inside(root, str(path), f"{where}.images") for path in images]
        cases[case] = (tuple(files), inside(root, entry["label"], f"{where}.label"))
    return cases


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
