"""Cases in a CSV table: a row a case, columns for images, label map, class, patient and split."""

from __future__ import annotations

import csv as csv_format
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from medexp.data.images import suffix
from medexp.data.records import Record
from medexp.data.sources.folders import inside, need_folder, sorted_unique
from medexp.errors import Faults, UserError, nearest

PARTS = ("train", "val", "test")


def records(
    root: Path,
    *,
    csv: str = "labels.csv",
    image: str | Sequence[str] = "image",
    label: str | None = None,
    target: str | None = "label",
    target_separator: str | None = None,
    case: str | None = None,
    patient: str | None = None,
    split: str | None = None,
) -> list[Record]:
    """One record a row; every option but `csv` names a column.

    image: the image file, or a list of columns, one a channel. label: the label map. target: the class, or several with
    `target_separator` between them (then an empty cell is none of them).
    case: the case id; default the image path with "_" for "/". split: train, val, test.
    """
    need_folder(root)
    path = inside(root, csv, "dataset.source.csv")
    table = _table(path)
    images = [image] if isinstance(image, str) else list(image)
    used = {"label": label, "target": target, "case": case, "patient": patient, "split": split}
    if label is not None and label == target:
        raise UserError(
            f"dataset.source.target: column '{target}' holds the label maps; set dataset.source.target=null"
        )
    columns = {
        **{"image" if image == name else f"image[{i}]": name for i, name in enumerate(images)},
        **{key: name for key, name in used.items() if name},
    }
    for key, name in columns.items():
        if name not in table.columns:
            known = [str(column) for column in table.columns]
            raise UserError(
                f"dataset.source.{key}: no column '{name}' in {path}{nearest(name, known)}; columns: {', '.join(known)}"
            )
    empty = [
        f"row {i}: column '{name}' is empty"
        for key, name in columns.items()
        if not (key == "target" and target_separator)
        for i in table.index[table[name].str.strip() == ""]
    ]
    if empty:
        raise Faults(f"{len(empty)} empty cells in {path}", list(dict.fromkeys(empty)))
    found = _cases(root, path, table, images, used, target_separator)
    return sorted_unique(found, root)


def _table(path: Path) -> pd.DataFrame:
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
    for name in filter(None, (*images, used["label"])):
        try:
            inside(root, row[name], f"row {number}, column '{name}'")
        except UserError as error:
            problems.append(str(error))
    if used["split"] and row[used["split"]] not in PARTS:
        problems.append(f"row {number}: split '{row[used['split']]}' is not one of {', '.join(PARTS)}")
    return problems


def _record(
    root: Path, row: dict[Any, Any], images: list[str], used: dict[str, str | None], separator: str | None
) -> Record:
    """The case of a row, right or wrong."""
    cell = {key: row[name] for key, name in used.items() if name}
    target: Any = cell.get("target")
    if target is not None and separator:
        target = [part.strip() for part in target.split(separator) if part.strip()]
    relative = str(row[images[0]])
    return Record(
        case_id=cell.get("case") or relative[: len(relative) - len(suffix(Path(relative)))].replace("/", "_"),
        images=tuple(root / row[name] for name in images),
        label=root / cell["label"] if "label" in cell else None,
        target=target,
        patient_id=cell.get("patient") or "",
        split=cell.get("split"),
    )
