"""Studies of several frames in a CSV table: a row a frame (a visit, a time point), in any order."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

from medexp.data.records import Record
from medexp.data.sources.folders import inside, need_folder, sorted_unique
from medexp.data.sources.table import read_table
from medexp.errors import Faults, UserError, nearest


def records(
    root: Path,
    *,
    csv: str = "visits.csv",
    study: str = "study",
    image: str = "image",
    time: str | None = None,
    value: str | None = None,
    target: str | None = None,
    patient: str | None = None,
) -> list[Record]:
    """One record a study; every option but `csv` names a column.

    study: which study a row is a frame of. image: the file of the frame. time: when it was taken, a number in any unit;
    None: rows are in order. value: what was measured at each frame (to predict the next). target: the class, or the
    value, of the whole study, the same in all its rows. patient: studies of one patient stay in one part of the split.
    """
    need_folder(root)
    path = inside(root, csv, "dataset.source.csv")
    table = read_table(path)
    names = {"study": study, "image": image, "time": time, "value": value, "target": target, "patient": patient}
    for key, name in names.items():
        if name is not None and name not in table.columns:
            known = [str(column) for column in table.columns]
            seen = f"no column '{name}' in {path}{nearest(name, known)}"
            raise UserError(f"dataset.source.{key}: {seen}; columns: {', '.join(known)}")
    if value is not None and target is not None:
        raise UserError(
            "dataset.source.target: there is a value a frame (dataset.source.value) as well; give one of them"
        )
    rows, problems = defaultdict[str, list[dict[str, Any]]](list), list[str]()
    for number, cells in zip(map(int, table.index), table.to_dict("records"), strict=True):
        row, wrong = _row(root, number, {key: str(cells[name]).strip() for key, name in names.items() if name})
        problems += wrong
        rows[str(row["study"])].append(row)
    found = [_study(name, frames, problems) for name, frames in rows.items()]
    if problems:
        raise Faults(f"{len(problems)} faults in {path}", list(dict.fromkeys(problems)))
    if not found:
        raise UserError(f"{path}: has no rows; give one a frame")
    return sorted_unique(found, root)


def _row(root: Path, number: int, row: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """A row with its numbers as numbers, and what is wrong with it."""
    problems = [f"row {number}: column '{key}' is empty" for key, cell in row.items() if cell == ""]
    for key in ("time", "value"):
        if row.get(key):
            try:
                row[key] = float(row[key])
            except ValueError:
                problems.append(f"row {number}, {key}: '{row[key]}' is no number")
    try:
        row["image"] = inside(root, row["image"], f"row {number}, image")
        if not row["image"].is_file():
            problems.append(f"row {number}: {row['image']}: no such file")
    except UserError as error:
        problems.append(str(error))
    return row, problems


def _study(name: str, rows: list[dict[str, Any]], problems: list[str]) -> Record:
    """The record of a study; what is wrong with its rows together is added to `problems`."""
    timed = "time" in rows[0]
    if timed and not problems:
        rows = sorted(rows, key=lambda row: row["time"])
        times = [row["time"] for row in rows]
        twice = sorted({time for time in times if times.count(time) > 1})
        problems += [f"study {name}: two frames were taken at {time:g}; mend the time of one" for time in twice]
    for key in ("target", "patient"):
        if len(said := {row[key] for row in rows if key in row}) > 1:
            problems.append(f"study {name}: rows differ in {key}: {', '.join(sorted(map(str, said)))}")
    target: Any = rows[0].get("target")
    if "value" in rows[0]:
        target = [row["value"] for row in rows]
    elif target is not None:
        try:
            target = float(target)
        except ValueError:
            target = str(target)
    return Record(
        name,
        tuple(row["image"] for row in rows),
        target=target,
        patient_id=rows[0].get("patient", ""),
        times=tuple(row["time"] for row in rows) if timed else None,
    )
