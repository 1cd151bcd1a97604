"""What somebody wrote down of a split: nnU-Net's splits_final.json, a run's split.json, a CSV; cases to leave out."""

from __future__ import annotations

import csv
import io
import json
import logging
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from medexp.data.records import Record
from medexp.data.splits.unlabelled import UNLABELLED, learnt_with
from medexp.errors import Faults, UserError, nearest

log = logging.getLogger(__name__)

PARTS = ("train", "val", "test")
KINDS = "a JSON list of folds (nnU-Net), a JSON object of train, val and test (medexp), or a CSV with case and split"


def apply_file(
    records: Sequence[Record], path: Path, fold: int | None, unlisted: str = "error", left_out: Collection[str] = ()
) -> list[Record]:
    """The records that a split file names, with the part that it gives them. Raises UserError, Faults with all offenders.

    splits_final.json: [{"train": [...], "val": [...]}, ...]; `fold` chooses. nnU-Net knows no test split: the val of its
    fold, on which its results are reported, is our test split, and our val is to be drawn from its train.
    split.json of a run: {"train": [...], "val": [...], "test": [...]}; a CSV: a row a case with the columns case and
    split (others are passed over). Both may do without val or test; there `fold` must be None.
    A name that is no case but a patient stands for all their cases (the slices of a volume, its time points).
    unlisted: "error", or "leave_out" the cases that the file does not name. left_out: cases that are not in `records`
    because the user left them out, not because the file is of other data. Cases that a run learnt from without their labels
    (its "unlabelled") have no part.
    """
    parts, renamed = _read(path.expanduser(), fold)
    aside = set(_cases({UNLABELLED: parts.pop(UNLABELLED, [])}, records)[UNLABELLED])
    records = [record for record in records if record.case_id not in aside]
    parts = _cases(parts, records)
    problems = _problems(parts, records, set(left_out))
    if problems:
        called = f"the cases of the data set are called '{records[0].case_id}' and the like"
        raise Faults(f"{path}: {len(problems)} faults in the split; {called}", problems)
    part_of = {case: renamed.get(part, part) for part, ids in parts.items() for case in ids}
    unknown = sorted(record.case_id for record in records if record.case_id not in part_of)
    if unknown and unlisted == "error":
        hint = "add it, or set dataset.split.unlisted=leave_out"
        problems = [f"case {case}: has no part in {path}; {hint}" for case in unknown]
        raise Faults(f"{path}: does not name {len(unknown)} of {len(records)} cases of the data set", problems)
    kept = [replace(record, split=part_of[record.case_id]) for record in records if record.case_id in part_of]
    gone = sorted(set(part_of.values()) - {str(record.split) for record in kept})
    if gone:
        raise UserError(f"{path}: all cases of its {gone[0]} split were left out of the data set; exclude fewer cases")
    if unknown:
        log.warning("%s: does not name %d of %d cases; they are left out", path, len(unknown), len(records))
    if len(kept) < len(part_of):
        log.info("%s: %d of its cases were left out of the data set", path, len(part_of) - len(kept))
    if aside:
        log.info("%s: %d of its cases are learnt from without their labels, or not at all", path, len(aside))
    if any(record.split is not None for record in records):
        log.info("%s: is used instead of the split that the data set comes with", path)
    return kept


def named_unlabelled(path: str | None, fold: int | None) -> set[str]:
    """Cases that a run's split.json names as learnt from without their labels; none in any other file. Raises UserError."""
    return set() if path is None else set(_read(Path(path).expanduser(), fold)[0].get(UNLABELLED, ()))


def _cases(parts: Mapping[str, Sequence[str]], records: Sequence[Record]) -> dict[str, list[str]]:
    """Parts with the cases of each patient in the place of the patient."""
    cases_of: dict[str, list[str]] = defaultdict(list)
    for record in records:
        cases_of[record.group].append(record.case_id)
    cases_of |= {record.case_id: [record.case_id] for record in records}
    return {part: [case for name in ids for case in cases_of.get(name, [name])] for part, ids in parts.items()}


def torn(split: Mapping[str, Sequence[str]], patient_of: Mapping[str, str]) -> list[str]:
    """A line for each case whose patient is in another part as well; cases that `patient_of` lacks are not judged."""
    problems = []
    seen: dict[str, tuple[str, str]] = {}
    for part, ids in split.items():
        for case in filter(patient_of.__contains__, ids):
            other, first = seen.setdefault(patient_of[case], (learnt_with(part), case))
            if other != learnt_with(part):
                problems.append(f"one patient is in {other} (case {first}) and in {part} (case {case})")
    return problems


def _problems(parts: Mapping[str, Sequence[str]], records: Sequence[Record], left_out: set[str]) -> list[str]:
    patient_of = {record.case_id: record.group for record in records}
    known = patient_of.keys() | left_out
    problems = [] if "train" in parts else ["train: names no case; a split needs cases to train on"]
    for part, ids in parts.items():
        if not ids:
            problems.append(f"{part}: names no case; name some, or leave {part} out of the file to have it drawn")
        problems += [f"{part}: case {case} is not in the data set" for case in ids if case not in known]
        problems += [f"{part}: case {case} is named {n} times" for case, n in Counter(ids).items() if n > 1]
    return problems + torn(parts, patient_of)


def _read(path: Path, fold: int | None) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Cases by part as the file calls it, and what we call its parts where the names differ."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"dataset.split.file: {path} is not a text in UTF-8; it must be {KINDS}") from None
    except OSError as error:
        raise UserError(f"dataset.split.file: {path} cannot be read ({error.strerror}); give another file") from None
    if path.suffix.lower() == ".csv":
        _no_fold(path, fold)
        return _table(path, text), {}
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"dataset.split.file: {path} is not JSON ({error}); it must be {KINDS}") from None
    if isinstance(content, list):
        return _nnunet(path, content, fold), {"val": "test"}
    _no_fold(path, fold)
    return _lists(path, "", content, (*PARTS, UNLABELLED)), {}


def _no_fold(path: Path, fold: int | None) -> None:
    if fold is not None:
        raise UserError(
            f"dataset.split.fold: {fold}, but {path} holds one split, no folds; set dataset.split.fold=null"
        )


def _nnunet(path: Path, content: list[Any], fold: int | None) -> dict[str, list[str]]:
    if not content:
        raise UserError(f"dataset.split.file: {path} is an empty list; it must be {KINDS}")
    if fold is None or not 0 <= fold < len(content):
        seen = "is not set" if fold is None else f"{fold} is not one of them"
        raise UserError(
            f"dataset.split.fold: {seen}; {path} holds {len(content)} folds: set dataset.split.fold=0..{len(content) - 1}"
        )
    parts = _lists(path, f"fold {fold}: ", content[fold], ("train", "val"))
    missing = [part for part in ("train", "val") if part not in parts]
    if missing:
        raise UserError(f"{path}: fold {fold}: has no '{missing[0]}'; nnU-Net's folds have train and val")
    log.info("%s: the val cases of fold %d are the test split; val is drawn from its train cases", path, fold)
    return parts


def _lists(path: Path, where: str, content: Any, allowed: Sequence[str]) -> dict[str, list[str]]:
    if not isinstance(content, dict):
        raise UserError(f"{path}: {where}is of type {type(content).__name__}; a split file is {KINDS}")
    problems = []
    for part, ids in content.items():
        if part not in allowed:
            problems.append(f"{where}no such part '{part}'{nearest(part, list(allowed))}; parts: {', '.join(allowed)}")
        elif not isinstance(ids, list) or not all(isinstance(case, str) for case in ids):
            problems.append(f"{where}{part}: is not a list of case ids (texts)")
    if problems:
        raise Faults(f"{path}: {len(problems)} faults in the split", problems)
    return {part: content[part] for part in allowed if part in content}


def _table(path: Path, text: str) -> dict[str, list[str]]:
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        header = list(reader.fieldnames or [])
        rows = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise UserError(f"{path}: cannot be read as a table: {error}; save it as CSV in UTF-8") from None
    for name in ("case", "split"):
        if header.count(name) != 1:
            seen = "two columns" if name in header else "no column"
            raise UserError(f"{path}: {seen} '{name}'; a split table has one row a case and the columns case and split")
    parts: dict[str, list[str]] = {}
    problems = []
    for number, row in rows:
        case, part = row["case"], row["split"]
        if None in row or None in row.values():
            problems.append(f"row {number}: has {'more' if None in row else 'fewer'} cells than the header")
        elif not case or part not in PARTS:
            problems.append(f"row {number}: case '{case}', split '{part}'; split is one of {', '.join(PARTS)}")
        else:
            parts.setdefault(part, []).append(case)
    if problems:
        raise Faults(f"{path}: {len(problems)} faults in the split", problems)
    return parts


def excluded(path: Path) -> set[str]:
    """The case ids of an exclusion list: one a line; what follows a `#` at its start or after a blank is a comment.

    Raises UserError where the file cannot be read.
    """
    try:
        lines = path.expanduser().read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise UserError(f"dataset.exclude: {path} is not a text in UTF-8; it must hold one case id a line") from None
    except OSError as error:
        raise UserError(f"dataset.exclude: {path} cannot be read ({error.strerror}); give another file") from None
    return {case for line in lines if (case := re.split(r"(?:^|\s)#", line.strip(), maxsplit=1)[0].strip())}


def without(records: Sequence[Record], ids: Collection[str]) -> list[Record]:
    """The records whose case ids are not in `ids`. Raises where `ids` names other cases, or all of them."""
    named = set(ids)
    unknown = sorted(named - {record.case_id for record in records})
    if unknown:
        raise Faults(
            f"dataset.exclude: {len(unknown)} of {len(ids)} cases are not in the data set, so the list is not of it or "
            "out of date; remove them, or write it anew with `medexp check --exclude-bad`",
            unknown,
        )
    left = [record for record in records if record.case_id not in named]
    if not left:
        raise UserError(f"dataset.exclude: names all {len(records)} cases of the data set; nothing is left to split")
    return left
