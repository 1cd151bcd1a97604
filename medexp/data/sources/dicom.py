"""DICOM as archives and scanners leave it: folders of files below a root, a volume a series (or an image a file).

Nothing that identifies a patient goes into a record: case ids are paths below the root, patient ids are hashes.
"""

from __future__ import annotations

import csv
import logging
from collections import Counter
from dataclasses import replace
from pathlib import Path

from medexp.data.formats.dicom_series import some
from medexp.data.images import stem, suffix
from medexp.data.records import Record
from medexp.data.sources.dicom_scan import Series, scan
from medexp.data.sources.folders import images_below, inside, need_folder, sorted_unique
from medexp.errors import Faults, UserError

log = logging.getLogger(__name__)
PATIENT = ("header", "folder")


def records(
    root: Path,
    *,
    spatial_dims: int = 3,
    labels: str | None = None,
    target: str | None = None,
    patient: str = "header",
) -> list[Record]:
    """One record a series; at `spatial_dims` 2, one a file. Localizers, reports, and in 3D single images and images
    without a place in space are left out, which is logged by name.

    labels: folder of label maps named after the cases, or the path of each with {case} in it. target: "folder" for the
    name of the first folder below the root, or a CSV file with the columns case and label (a class a case).
    patient: "header" for a hash of the PatientID, "folder" for the first folder below the root (below that of the class).
    """
    need_folder(root)
    if patient not in PATIENT:
        raise UserError(f"dataset.source.patient: '{patient}' is not one of {', '.join(PATIENT)}")
    found = scan(root, volumes=spatial_dims == 3)
    if patient == "header" and (without := [str(series.folder) for series in found if not series.patient]):
        log.info("no PatientID in %s: the folder is taken for the patient", some(without))
    cases = []
    for series in found:
        who = _patient(series, patient, target)
        folder = root / series.folder
        if spatial_dims == 3:
            cases.append(Record(_case(root, series), (folder,), patient_id=who, member=series.uid))
        else:
            cases += [Record(_image(series, name), (folder / name,), patient_id=who) for name in series.files]
    cases = sorted_unique(cases, root)
    maps = _labels(root, labels, [case.case_id for case in cases]) if labels is not None else {}
    targets = _targets(root, target, cases) if target is not None else {}
    return [replace(case, label=maps.get(case.case_id), target=targets.get(case.case_id)) for case in cases]


def _case(root: Path, series: Series) -> str:
    words = [*series.folder.parts, series.name] if series.folder.parts else [root.resolve().name, series.name]
    return "_".join(word for word in words if word)


def _image(series: Series, name: str) -> str:
    bare = stem(Path(name)) if suffix(Path(name)) else name  # of a UID as name the last number is no suffix
    return "_".join((*series.folder.parts, bare))


def _patient(series: Series, patient: str, target: str | None) -> str:
    if patient == "header":
        return series.patient or "_".join(series.folder.parts)
    depth = 1 if target == "folder" else 0
    return "_".join(series.folder.parts[depth : depth + 1])


def _labels(root: Path, labels: str, cases: list[str]) -> dict[str, Path]:
    if "{case}" in labels:
        found = {case: inside(root, labels.replace("{case}", case), "dataset.source.labels") for case in cases}
        alone = [f"case {case}: {path}: no such label map" for case, path in found.items() if not path.is_file()]
    else:
        folder = inside(root, labels, "dataset.source.labels")
        if not folder.is_dir():
            raise UserError(f"dataset.source.labels: {folder} is not a folder; name one, or a path with {{case}} in it")
        found = {stem(path): path for path in images_below(folder)}
        alone = [f"case {case}: no label map {folder / case}.nii.gz or .nrrd" for case in cases if case not in found]
        alone += [f"{found[name]}: no series has that case id" for name in sorted(found.keys() - set(cases))]
    if alone:
        raise Faults(f"{len(alone)} series or label maps without their other half in {root}", alone)
    return found


def _targets(root: Path, target: str, cases: list[Record]) -> dict[str, str]:
    if target == "folder":
        folders = {case.case_id: case.images[0].relative_to(root).parts for case in cases if case.images[0] is not None}
        bare = [case.case_id for case in cases if len(folders[case.case_id]) < (1 if case.member else 2)]
        if bare:
            raise UserError(f"dataset.source.target: {some(bare)} lie in no folder of a class (root/<class>/...)")
        return {case: parts[0] for case, parts in folders.items()}
    table = _table(inside(root, target, "dataset.source.target"))
    ids = {case.case_id for case in cases}
    alone = [f"case {case}: has no row" for case in sorted(ids - table.keys())]
    alone += [f"row '{case}': there is no such case" for case in sorted(table.keys() - ids)]
    if alone:
        raise Faults(f"{len(alone)} cases and rows of {root / target} do not fit", alone)
    return table


def _table(path: Path) -> dict[str, str]:
    """Class by case id."""
    if not path.is_file():
        raise UserError(f"dataset.source.target: {path}: no such table; name a CSV file, or 'folder'")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            if not {"case", "label"} <= set(reader.fieldnames or []):
                seen = ", ".join(reader.fieldnames or [])
                raise UserError(f"{path}: needs the columns case and label; its first row names {seen or 'none'}")
            rows = [(str(row["case"]).strip(), str(row["label"] or "").strip()) for row in reader]
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as a table: {error}; save it as CSV in UTF-8") from None
    faults = [f"case {case}: stands {count} times" for case, count in Counter(c for c, _ in rows).items() if count > 1]
    faults += [f"case {case}: has no class" for case, label in rows if not label]
    if faults:
        raise Faults(f"{len(faults)} rows of {path} cannot be used", faults)
    return dict(rows)
