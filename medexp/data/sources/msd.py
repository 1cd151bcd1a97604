"""Medical Segmentation Decathlon folders: dataset.json, imagesTr, labelsTr.

Antonelli et al. 2022, Nat. Commun. 13:4128.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from medexp.data.images import stem
from medexp.data.records import Record
from medexp.data.sources.folders import inside, need_folder, sorted_unique
from medexp.errors import Faults, UserError


def records(root: Path, *, patient_pattern: str | None = None) -> list[Record]:
    """The labelled cases ("training") of a Decathlon folder.

    patient_pattern: regular expression with one group that finds the patient in a case id; None: one scan a patient.
    """
    need_folder(root)
    found: list[Record] = []
    missing: list[str] = []
    for number, entry in enumerate(_training(root / "dataset.json")):
        if not isinstance(entry, dict) or not {"image", "label"} <= entry.keys():
            raise UserError(f"{root / 'dataset.json'}: training[{number}] is no {{image, label}} pair; mend the file")
        image, label = (inside(root, str(entry[key]), f"training[{number}].{key}") for key in ("image", "label"))
        if image.name.startswith("._"):
            continue  # left behind by macOS archives
        case = stem(image)
        missing += [f"case {case}: {path}: no such file" for path in (image, label) if not path.is_file()]
        found.append(Record(case, (image,), label, patient_id=patient(case, patient_pattern)))
    if missing:
        raise Faults(f"{len(missing)} files that {root / 'dataset.json'} names are missing", missing)
    return sorted_unique(found, root)


def _training(path: Path) -> list[Any]:
    if not path.is_file():
        raise UserError(f"dataset.root: {path.parent} has no dataset.json; set dataset.root=PATH of a Decathlon folder")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        training = content["training"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: is no Decathlon description ({type(error).__name__}: {error}); it needs a list 'training'"
        ) from None
    if not isinstance(training, list):
        raise UserError(f"{path}: 'training' is a {type(training).__name__}, not a list of {{image, label}} pairs")
    return training


def patient(case: str, pattern: str | None) -> str:
    """The patient in a case id: what the group of a regular expression finds. Raises UserError where it finds nothing."""
    if pattern is None:
        return ""
    try:
        match = re.search(pattern, case)
    except re.error as error:
        raise UserError(f"dataset.source.patient_pattern: '{pattern}' is no regular expression ({error})") from None
    if match is None or not match.groups() or not match.group(1):
        raise UserError(
            f"dataset.source.patient_pattern: '{pattern}' finds no group (...) in case id '{case}'; it must in every id"
        )
    return match.group(1)
