"""Cases in a CSV table: a row a case, columns for images, label map, class, patient and split."""

from __future__ import annotations

import csv as csv_format
import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from medexp.data.images import suffix
from medexp.data.records import Record
from medexp.data.sources.folders import inside, need_folder, sorted_unique
from medexp.errors import Faults, UserError, nearest

log = logging.getLogger(__name__)
AUTO = "auto"
PATIENTS = ("patient", "patient_id", "subject", "subject_id", "participant_id")  # usual names of that column
MEASURE = "target."  # before the column of one of several measures
PARTS = ("train", "val", "test")


def records(
    root: Path,
    *,
    csv: str = "labels.csv",
    image: str | Sequence[str] = "image",
    label: str | None = None,
    target: str | Sequence[str] | None = "label",
    target_separator: str | None = None,
    time: str | None = None,
    event: str | None = None,
    case: str | None = None,
    patient: str | None = AUTO,
    split: str | None = None,
    covariates: Sequence[str] = (),
    with_unlabelled: bool = False,
) -> list[Record]:
    """One record a row; every option but `csv` names a column.

    image: the image file, or a list of columns, one a channel. label: the label map. target: the class, or several with
    `target_separator` between them (then an empty cell is none of them), or a list of columns, a measure or class each.
    time, event: how long a patient was followed up and whether the event came (1) or the time is censored (0), in place of `target`.
    case: the case id; default the image path with "_" for "/". split: train, val, test.
    patient: whose the case is; "auto": the column of a usual name for that, where there is one; None: each case is one.
    covariates: what else is known of a case (cells may be empty). with_unlabelled: so may those of the label and the target, for
    something learns from such cases too, or from no label at all.
    """
    need_folder(root)
    path = inside(root, csv, "dataset.source.csv")
    table = read_table(path)
    images = [image] if isinstance(image, str) else list(image)
    several = [] if isinstance(target, str | None) else list(target)
    target = target if isinstance(target, str | None) else None
    used = {"label": label, "target": target, "case": case, "patient": _patients(table, patient), "split": split}
    used |= {"time": time, "event": event, **{f"{MEASURE}{name}": name for name in several}}
    _one_target(used)
    if label is not None and label == target:
        raise UserError(
            f"dataset.source.target: column '{target}' holds the label maps; set dataset.source.target=null"
        )
    columns = {
        **{"image" if image == name else f"image[{i}]": name for i, name in enumerate(images)},
        **{key: name for key, name in used.items() if name},
    }
    for key, name in [
        *((f"source.{key}", name) for key, name in columns.items()),
        *(("covariates", name) for name in covariates),
    ]:
        if name not in table.columns:
            known = [str(column) for column in table.columns]
            raise UserError(
                f"dataset.{key}: no column '{name}' in {path}{nearest(name, known)}; columns: {', '.join(known)}"
            )
    allowed = {"target"} if target_separator else set()
    allowed |= {key for key in columns if _tells(key)} if with_unlabelled else set()
    if empty := _empty(table, {key: name for key, name in columns.items() if key not in allowed}):
        raise Faults(f"{len(empty)} empty cells in {path}", empty)
    found = _cases(root, path, table, images, used, target_separator)
    if covariates:
        rows = table[list(covariates)].to_dict("records")
        found = [replace(one, covariates=dict(row)) for one, row in zip(found, rows, strict=True)]  # type: ignore[arg-type]
    _some_event(found, path, event)
    return sorted_unique(found, root)


def _tells(key: str) -> bool:
    """Whether a column says what is learnt of a case."""
    return key in ("label", "target", "time", "event") or key.startswith(MEASURE)


def _empty(table: pd.DataFrame, columns: dict[str, str]) -> list[str]:
    """Faults of cells that are empty, one each."""
    found = {}
    for key, name in columns.items():
        move = "fill it, or leave the row out"
        if key in ("label", "target"):  # nothing learns from cases without a measure
            move = "fill it, leave the row out, or learn from such cases as well (learning=mean_teacher and the like)"
        for row in table.index[table[name].str.strip() == ""]:
            found[row, name] = f"row {row}: column '{name}' is empty; {move}"
    return list(found.values())


def _patients(table: pd.DataFrame, asked: str | None) -> str | None:
    """The column that says whose a case is: the one that was asked for, or known by its name."""
    if asked != AUTO:
        return asked
    found = next((str(name) for name in table.columns if str(name).lower() in PATIENTS), None)
    if found is not None:
        log.info("patients are told apart by the column '%s' (dataset.source.patient)", found)
    return found


def _one_target(used: dict[str, str | None]) -> None:
    if bool(used["time"]) != bool(used["event"]):
        there, absent = ("time", "event") if used["time"] else ("event", "time")
        raise UserError(f"dataset.source.{absent}: no column, but dataset.source.{there}={used[there]}; name both")
    if used["time"] and used["target"]:
        raise UserError(
            f"dataset.source.target: '{used['target']}' beside time and event; set dataset.source.target=null"
        )


def _some_event(found: list[Record], path: Path, event: str | None) -> None:
    if event and all(record.target is None or record.target[1] == 0 for record in found):
        seen = f"all {len(found)} rows of {path} are censored"
        raise UserError(f"dataset.source.event: {seen}; 1 marks an event: is '{event}' the right column?")


def _follow_up(row: dict[Any, Any], number: int, used: dict[str, str | None]) -> list[str]:
    """What is wrong with the time and the event of a row."""
    time, event = (_number(row[used[key]]) for key in ("time", "event"))
    problems = []
    if not 0 <= time < math.inf:
        problems.append(f"row {number}, column '{used['time']}': '{row[used['time']]}' is no time of 0 or more")
    if event not in (0, 1):
        seen = f"row {number}, column '{used['event']}': '{row[used['event']]}'"
        problems.append(f"{seen} is neither 1 (the event came) nor 0 (censored)")
    return problems


def _number(cell: str) -> float:
    """NaN where it is none."""
    try:
        return float(cell)
    except ValueError:
        return math.nan


def read_table(path: Path) -> pd.DataFrame:
    """A CSV table, its rows by the number of their line, all cells texts. Raises UserError and Faults."""
    if not path.is_file():
        raise UserError(f"dataset.source.csv: {path}: no such table; set dataset.source.csv=FILE or dataset.root=PATH")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv_format.reader(file, strict=True)
            header = next(reader, [])
            rows = [(reader.line_num, cells) for cells in reader if cells]
    except (csv_format.Error, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as a table: {error}; save it as CSV in UTF-8") from None
    if not header:
        raise UserError(f"{path}: is empty; its first row must name the columns")
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise UserError(f"{path}: two columns are named {', '.join(twice)}; rename one")
    ragged = [
        f"row {n}: {len(cells)} cells, the header has {len(header)}" for n, cells in rows if len(cells) != len(header)
    ]
    if ragged:
        raise Faults(f"{len(ragged)} rows of {path} do not fit its header", ragged)
    if not rows:
        raise UserError(f"{path}: has a header and no rows; give one a case")
    return pd.DataFrame([cells for _, cells in rows], index=[n for n, _ in rows], columns=header, dtype=str)


def _cases(
    root: Path,
    path: Path,
    table: pd.DataFrame,
    images: list[str],
    used: dict[str, str | None],
    separator: str | None,
) -> list[Record]:
    """A record a row. Raises Faults with every wrong cell and every file that is missing."""
    rows = list(zip(map(int, table.index), table.to_dict("records"), strict=True))
    wrong = list(dict.fromkeys(fault for i, row in rows for fault in _faults(root, row, i, images, used)))
    found = [_record(root, row, images, used, separator) for _, row in rows]
    missing = [
        f"case {r.case_id}: {p}: no such file"
        for r in found
        for p in (*r.files, *([r.label] if r.label else []))
        if p.is_relative_to(root) and ".." not in p.relative_to(root).parts and not p.is_file()
    ]
    if wrong or missing:
        raise Faults(
            f"{path}: {len(wrong)} wrong cells, {len(missing)} files that it names are missing", wrong + missing
        )
    return found


def _faults(root: Path, row: dict[Any, Any], number: int, images: list[str], used: dict[str, str | None]) -> list[str]:
    """What is wrong with the cells of a row: paths out of the root, a split that there is not."""
    problems = []
    for name in (*images, *([used["label"]] if used["label"] and row[used["label"]].strip() else [])):
        try:
            inside(root, row[name], f"row {number}, column '{name}'")
        except UserError as error:
            problems.append(str(error))
    if used["split"] and row[used["split"]] not in PARTS:
        problems.append(f"row {number}: split '{row[used['split']]}' is not one of {', '.join(PARTS)}")
    return [*problems, *(_follow_up(row, number, used) if used["time"] and not _untold(row, used) else ())]


def _untold(row: dict[Any, Any], used: dict[str, str | None]) -> bool:
    """Whether a row says nothing, or not all, of what is learnt from a time and an event, or from several measures."""
    names = [name for key, name in used.items() if name and _tells(key) and key not in ("label", "target")]
    return any(not row[name].strip() for name in names)


def _record(
    root: Path, row: dict[Any, Any], images: list[str], used: dict[str, str | None], separator: str | None
) -> Record:
    """The case of a row, right or wrong."""
    cell = {key: row[name] for key, name in used.items() if name}
    target: Any = cell.get("target")
    if target is not None and not separator and not target.strip():
        target = None
    if target is not None and separator:
        target = [part.strip() for part in target.split(separator) if part.strip()]
    if _untold(row, used):
        target = None
    elif measures := {key.removeprefix(MEASURE): value for key, value in cell.items() if key.startswith(MEASURE)}:
        target = measures
    elif "time" in cell:
        target = [_number(cell["time"]), _number(cell["event"])]
    relative = str(row[images[0]])
    return Record(
        case_id=cell.get("case") or relative[: len(relative) - len(suffix(Path(relative)))].replace("/", "_"),
        images=tuple(root / row[name] for name in images),
        label=root / cell["label"] if cell.get("label", "").strip() else None,
        target=target,
        patient_id=cell.get("patient") or "",
        split=cell.get("split"),
    )
