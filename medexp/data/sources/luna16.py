"""LUNA16: CT scans in subset0 to subset9 (.mhd and .raw) and a table of nodule candidates, one window a candidate.

Setio et al. 2017, Med. Image Anal. 42:1-13; luna16.grand-challenge.org/Data.
"""

from __future__ import annotations

import csv
import logging
import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from medexp.data.records import Record, Window
from medexp.data.sources.folders import inside, need_folder, sorted_unique
from medexp.errors import Faults, UserError
from medexp.seeding import derive

log = logging.getLogger(__name__)
COLUMNS = ("seriesuid", "coordX", "coordY", "coordZ", "class")
CLASSES = {"0": "non-nodule", "1": "nodule"}


def records(
    root: Path,
    *,
    candidates: str = "candidates_V2.csv",
    size_mm: Sequence[float] = (48, 48, 48),
    negatives: int | None = None,
    subsets: Sequence[int] | None = None,
    test_subset: int | None = None,
) -> list[Record]:
    """A record a candidate, `<seriesuid>_<row>`: a window of `size_mm` around it, "nodule" or "non-nodule".

    candidates: table with seriesuid, coordX, coordY, coordZ (mm) and class. negatives: at most so many non-nodules a
    scan, a choice that other rows do not change; None: all. subsets: numbers of the subset folders to use; None: all
    that are there, and every scan of the table must be. test_subset: the fold of the challenge's ten-fold
    cross-validation that is the test split; None: the split is drawn by scan.
    """
    need_folder(root)
    if len(size_mm) != 3 or not all(size > 0 for size in size_mm):
        raise UserError(f"dataset.source.size_mm: {list(size_mm)} is not a positive number of mm for each of 3 axes")
    if negatives is not None and negatives < 0:
        raise UserError(f"dataset.source.negatives: {negatives} is negative; give a number, or null for all")
    scans = scans_below(root, subsets)
    if test_subset is not None and test_subset not in {number for number, _ in scans.values()}:
        known = sorted({number for number, _ in scans.values()})
        raise UserError(f"dataset.source.test_subset: {test_subset} is not one of the subsets {known}")
    rows = _rows(inside(root, candidates, "dataset.source.candidates"))
    absent = Counter(uid for _, uid, _, _ in rows if uid not in scans)
    if absent and subsets is None:
        hint = "copy the rest, or set dataset.source.subsets, e.g. [0, 1], to use only what is there"
        headline = f"{absent.total()} candidates of {len(absent)} scans that are not below {root}; {hint}"
        raise Faults(headline, [f"{uid}: {count} candidates" for uid, count in sorted(absent.items())])
    if absent:
        log.info("%s: %d candidates lie in scans of other subsets and are left out", root.name, absent.total())
    size = (float(size_mm[0]), float(size_mm[1]), float(size_mm[2]))
    found = []
    for line, uid, centre, target in rows:
        if uid in scans:
            number, path = scans[uid]
            split = None if test_subset is None else "test" if number == test_subset else "train"
            window = Window(centre, size)
            found.append(Record(f"{uid}_{line:06d}", (path,), None, target, uid, split, window=window))
    return sorted_unique(found if negatives is None else _fewer(found, negatives, root), root)


def scans_below(root: Path, subsets: Sequence[int] | None) -> dict[str, tuple[int, Path]]:
    """Subset number and header file by seriesuid. Raises Faults naming all that is not there."""
    numbers = {
        int(entry.name[6:]) for entry in root.iterdir() if re.fullmatch(r"subset\d+", entry.name) and entry.is_dir()
    }
    if not numbers:
        raise UserError(f"dataset.root: {root} has no folders subset0 to subset9; set dataset.root=PATH of LUNA16")
    gone = sorted(set(subsets or ()) - numbers)
    if gone:
        known = f"there are {sorted(numbers)}"
        raise UserError(
            f"dataset.source.subsets: no folders {', '.join(f'subset{n}' for n in gone)} in {root}; {known}"
        )
    scans: dict[str, tuple[int, Path]] = {}
    problems = []
    for number in sorted(numbers if subsets is None else subsets):
        for path in sorted((root / f"subset{number}").glob("*.mhd")):
            if not any(path.with_suffix(end).is_file() for end in (".raw", ".zraw")):
                problems.append(f"{path}: its .raw is not beside it")
            if path.stem in scans:
                problems.append(f"{path}: stands in subset{scans[path.stem][0]} too")
            scans[path.stem] = (number, path)
    if problems:
        raise Faults(f"{len(problems)} scans in {root} cannot be used", problems)
    return scans


def _rows(path: Path) -> list[tuple[int, str, tuple[float, float, float], str]]:
    """(line, seriesuid, place in RAS mm, class) a candidate. Raises UserError."""
    if not path.is_file():
        tables = ", ".join(sorted(entry.name for entry in path.parent.glob("*.csv"))) or "none"
        raise UserError(f"dataset.source.candidates: {path}: no such table; tables there: {tables}")
    found, problems = [], []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            lacking = [name for name in COLUMNS if name not in (reader.fieldnames or [])]
            if lacking:
                hint = "choose candidates.csv or candidates_V2.csv"
                raise UserError(f"{path}: has no column {', '.join(lacking)}; {hint}")
            for row in reader:
                try:
                    x, y, z = (float(row[name]) for name in COLUMNS[1:4])
                    if not math.isfinite(x + y + z):
                        raise ValueError
                    found.append((reader.line_num, row["seriesuid"], (-x, -y, z), CLASSES[row["class"]]))  # LPS to RAS
                except (KeyError, TypeError, ValueError):
                    problems.append(f"row {reader.line_num}: {', '.join(str(row[name]) for name in COLUMNS)}")
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as a table ({error}); download it again") from None
    if problems:
        raise Faults(f"{len(problems)} rows of {path} are no candidates (uid, three numbers in mm, 0 or 1)", problems)
    return found


def _fewer(found: list[Record], negatives: int, root: Path) -> list[Record]:
    """At most `negatives` non-nodules a scan, those that come first by a hash of their ids."""
    by_scan: dict[str, list[Record]] = defaultdict(list)
    for record in found:
        if record.target == CLASSES["0"]:
            by_scan[record.patient_id].append(record)
    left = set()
    for each in by_scan.values():
        ordered = sorted(each, key=lambda record: (derive(0, "negatives", record.case_id), record.case_id))
        left |= {record.case_id for record in ordered[negatives:]}
    if left:
        log.info("%s: negatives=%d a scan leaves out %d of %d candidates", root.name, negatives, len(left), len(found))
    return [record for record in found if record.case_id not in left]
