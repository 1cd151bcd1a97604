"""RSNA 2019 intracranial haemorrhage: head CT slices in DICOM, a row a slice and kind of haemorrhage in one table.

Flanders et al. 2020, Radiol. Artif. Intell. 2(3):e190211.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import pandas as pd

from medexp.data.formats.dicom_folder import listing, read_patient
from medexp.data.formats.scan import Unreadable
from medexp.data.progress import track
from medexp.data.records import Record
from medexp.data.sources.folders import inside, need_folder, sorted_unique
from medexp.errors import Faults, UserError

log = logging.getLogger(__name__)


def records(
    root: Path,
    *,
    classes: Sequence[str],
    csv: str = "stage_2_train.csv",
    images: str = "stage_2_train",
    patients: bool = True,
    left_out: Sequence[str] = (),
) -> list[Record]:
    """One record a slice; its target is 0 or 1 for each of `classes`, in their order.

    csv: rows ID_xxx_kind,Label. images: folder of ID_xxx.dcm. patients: read every header for the patient, so that no
    patient falls into two parts of the split (minutes for the 750,000 slices; without, each slice is taken for a patient
    and the test is no test). left_out: slices that are known to be damaged. Rows that stand twice with one label count
    once, which is logged.
    """
    need_folder(root)
    path, folder = inside(root, csv, "dataset.source.csv"), inside(root, images, "dataset.source.images")
    if not path.is_file():
        raise UserError(f"dataset.source.csv: {path}: no such table; set dataset.root=PATH of the unpacked archive")
    if not folder.is_dir():
        raise UserError(
            f"dataset.source.images: {folder} is not a folder; set dataset.root=PATH of the unpacked archive"
        )
    facts = path.stat()
    targets = dict(_targets(path, (facts.st_size, facts.st_mtime_ns), tuple(classes)))
    names = {entry.name for entry in folder.iterdir() if entry.name.lower().endswith(".dcm")}
    alone = [f"{case}: {folder / case}.dcm: no such file" for case in targets if f"{case}.dcm" not in names]
    alone += [f"{folder / name}: has no row" for name in sorted(names) if name[:-4] not in targets]
    if alone:
        raise Faults(f"{len(alone)} slices and rows of {path} do not fit", alone)
    for case in left_out:
        if targets.pop(case, None) is not None:
            log.info("left out: %s (dataset.source.left_out)", case)
    cases = sorted(targets)
    of = _patients(folder, listing(folder), tuple(cases)) if patients else {}
    found = [Record(c, (folder / f"{c}.dcm",), target=list(targets[c]), patient_id=of.get(c, "")) for c in cases]
    return sorted_unique(found, root)


@lru_cache(maxsize=4)
def _targets(path: Path, changed: tuple[int, int], classes: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    """0 or 1 a class by slice. Raises UserError or Faults."""
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (ValueError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as a table: {error}; download it again") from None
    if list(table.columns) != ["ID", "Label"]:
        raise UserError(f"{path}: its columns are {', '.join(map(str, table.columns))}, not ID, Label")
    parts = table["ID"].str.extract(r"^(?P<case>.+)_(?P<kind>[^_]+)$").assign(label=table["Label"])
    odd = parts["case"].isna() | ~parts["kind"].isin(classes) | ~parts["label"].isin(["0", "1"])
    if odd.any():
        rows = [
            f"row {i + 2}: {r.ID},{r.Label}" for i, r in zip(table.index[odd], table[odd].itertuples(), strict=True)
        ]
        raise Faults(
            f"{len(rows)} rows of {path} are not ID_xxx_kind,0 or 1 of dataset.classes {', '.join(classes)}", rows
        )
    once = parts.drop_duplicates()
    if len(once) < len(parts):
        log.info("%s: %d rows stand twice with one label; each counts once", path.name, len(parts) - len(once))
    both = once[once.duplicated(["case", "kind"])]
    faults = [f"{row.case}: {row.kind} is both 0 and 1" for row in both.itertuples()]
    wide = once.drop_duplicates(["case", "kind"]).pivot(index="case", columns="kind", values="label")
    wide = wide.reindex(columns=list(classes))
    holes = wide[wide.isna().any(axis=1)]
    faults += [f"{case}: no row of {', '.join(row.index[row.isna()])}" for case, row in holes.iterrows()]
    if faults:
        raise Faults(f"{len(faults)} slices of {path} have no clear labels", faults)
    return dict(zip(map(str, wide.index), map(tuple, wide.astype(int).to_numpy().tolist()), strict=True))


@lru_cache(maxsize=4)
def _patients(folder: Path, content: str, cases: tuple[str, ...]) -> dict[str, str]:
    """Hash of the PatientID by slice. Raises Faults naming all files whose header cannot be read."""

    def one(case: str) -> tuple[str, str]:
        try:
            return read_patient(folder / f"{case}.dcm"), ""
        except Unreadable as error:
            return "", f"case {case}: {folder / case}.dcm: {error}"

    with ThreadPoolExecutor() as pool:
        outcomes = list(track(pool.map(one, cases), len(cases), "reading headers"))
    faults = [fault for _, fault in outcomes if fault]
    faults += [
        f"case {case}: {folder / case}.dcm: has no PatientID"
        for case, (patient, fault) in zip(cases, outcomes, strict=True)
        if not patient and not fault
    ]
    if faults:
        raise Faults(f"{len(faults)} slices have no patient (dataset.source.patients=false goes without)", faults)
    return {case: patient for case, (patient, _) in zip(cases, outcomes, strict=True)}
