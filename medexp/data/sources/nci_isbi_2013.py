"""NCI-ISBI 2013 challenge, prostate zones: T2 MRI in DICOM (Prostate-3T, PROSTATE-DIAGNOSIS), label maps in NRRD.

Bloch et al. 2015, doi:10.7937/K9/TCIA.2015.zF0vlOPv. The archive gives one series a patient, in folders
<collection>/<patient>/<study>/<series>, and one label map a patient in Training/, Leaderboard/ and Test/, a few with
words behind the patient (ProstateDx-01-0006_correctedLabels.nrrd, Prostate3T-03-0001_truth.nrrd).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path

from medexp.data.formats.nrrd import nrrd_header
from medexp.data.formats.scan import Unreadable
from medexp.data.records import Record
from medexp.data.sources.dicom_scan import Series, scan
from medexp.data.sources.folders import need_folder, sorted_unique
from medexp.errors import Faults, UserError

log = logging.getLogger(__name__)
PATIENT = re.compile(r"(?:Prostate3T|ProstateDx)-\d\d-\d{4}")
PARTS = {"training": "train", "train": "train", "leaderboard": "val", "test": "test", "testing": "test"}


def records(root: Path, *, left_out: Sequence[str] = ()) -> list[Record]:
    """One record a patient: the series whose folder, and the label map whose name holds the patient's id (a pseudonym
    of the archive's). Training, Leaderboard and Test, as folders above the label maps, are train, val and test.

    left_out: patients that are known not to fit; it is logged. Where a patient has several series, the one on the grid
    of the label map is taken.
    """
    need_folder(root)
    maps = _by_patient(root, sorted(path for path in root.rglob("*.nrrd") if not path.name.startswith(".")))
    series: dict[str, list[Series]] = {}
    for found in scan(root):
        match = PATIENT.search(str(found.folder))
        if match is None:
            log.info("left out: %s, series %s: no patient of the challenge in its path", found.folder, found.title)
        else:
            series.setdefault(match.group(), []).append(found)
    for patient in left_out:
        if maps.pop(patient, None) is not None:
            log.info("left out: %s (dataset.source.left_out)", patient)
        series.pop(patient, None)
    faults = [f"{maps[patient]}: no series of {patient}" for patient in sorted(maps.keys() - series.keys())]
    faults += [f"{patient}: no label map of that name" for patient in sorted(series.keys() - maps.keys())]
    cases = []
    for patient in sorted(maps.keys() & series.keys()):
        try:
            one = _on_grid(series[patient], maps[patient])
        except UserError as error:
            faults.append(str(error))
            continue
        folder = root / one.folder
        cases.append(Record(patient, (folder,), maps[patient], None, patient, _part(root, maps[patient]), one.uid))
    if faults:
        raise Faults(f"{len(faults)} patients of {root} lack a series or a label map", faults)
    without = [case.case_id for case in cases if case.split is None]
    if without and len(without) < len(cases):
        listed = [f"case {case}: not below {', '.join(PARTS)}" for case in without]
        raise Faults(f"{len(without)} of {len(cases)} label maps are in no part of the challenge", listed)
    return sorted_unique(cases, root)


def _by_patient(root: Path, paths: list[Path]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    faults = []
    for path in paths:
        match = PATIENT.match(path.name)
        if match is None:
            faults.append(f"{path}: its name begins with no patient (Prostate3T-01-0001, ProstateDx-01-0001)")
        elif match.group() in found:
            faults.append(f"{path}: {found[match.group()]} is of the same patient; remove one")
        else:
            found[match.group()] = path
    if faults:
        raise Faults(f"{len(faults)} label maps in {root} belong to no one patient", faults)
    if not found:
        raise UserError(f"dataset.root: no label map <patient>.nrrd below {root}; set dataset.root=PATH")
    return found


def _part(root: Path, path: Path) -> str | None:
    words = (PARTS.get(part.lower()) for part in path.relative_to(root).parts[:-1])
    return next((part for part in words if part is not None), None)


def _on_grid(series: list[Series], label: Path) -> Series:
    """The patient's only series, or the only one with as many columns, rows and slices as the label map."""
    if len(series) == 1:
        return series[0]
    try:
        grid = nrrd_header(label)[0]
    except (Unreadable, OSError) as error:
        raise UserError(f"{label}: {error}") from None
    fits = [one for one in series if (one.size[1], one.size[0], one.frames) == grid]
    if len(fits) != 1:
        names = ", ".join(f"{one.folder.name} {one.title}" for one in series)
        raise UserError(f"{label}: {len(fits)} of {len(series)} series are on its grid {grid} ({names}); keep one")
    return fits[0]
