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
    found = [
        _record(root, row, int(i), images, used, target_separator)
        for i, row in zip(table.index, table.to_dict("records"), strict=True)
    ]
    missing = [
        f"case {r.case_id}: {p}: no such file"
        for r in found
        for p in (*r.files, *([r.label] if r.label else []))
        if not p.is_file()
    ]
    if missing:
        raise Faults(f"{len(missing)} files that {path} names are missing", missing)
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


def _record(
    root: Path, row: dict[Any, Any], number: int, images: list[str], used: dict[str, str | None], separator: str | None
) -> Record:
    files = tuple(inside(root, row[name], f"row {number}, column '{name}'") for name in images)
    cell = {key: row[name] for key, name in used.items() if name}
    target: Any = cell.get("target")
    if target is not None and separator:
        target = [part.strip() for part in target.split(separator) if part.strip()]
    relative = str(row[images[0]])
    split = cell.get("split")
    if split is not None and split not in ("train", "val", "test"):
        raise UserError(f"row {number}: split '{split}' is not one of train, val, test")
    return Record(
        case_id=cell.get("case") or relative[: len(relative) - len(suffix(Path(relative)))].replace("/", "_"),
        images=files,
        label=inside(root, cell["label"], f"row {number}, column '{used['label']}'") if "label" in cell else None,
        target=target,
        patient_id=cell.get("patient") or "",
        split=split,
    )
