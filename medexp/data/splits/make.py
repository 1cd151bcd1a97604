"""Who is in train, val and test: by patient, stratified, and nobody moves because cases were added."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from itertools import accumulate
from pathlib import Path
from typing import Literal

from medexp.data.records import Record
from medexp.data.splits.few import check_few, few_of
from medexp.data.splits.files import apply_file, torn
from medexp.data.splits.places import assign, place
from medexp.data.splits.strata import classes_of, rarest
from medexp.errors import Faults, UserError

log = logging.getLogger(__name__)

Split = dict[str, list[str]]
Parts = dict[str, str]  # patient -> part
PARTS = ("train", "val", "test")
_GIVEN = (*PARTS, None)


def make_split(
    records: list[Record],
    *,
    seed: int,
    val: float = 0.15,
    test: float = 0.2,
    fold: int | None = None,
    folds: int = 5,
    stratify: bool = True,
    strata: Mapping[str, str] | None = None,
    file: str | None = None,
    unlisted: Literal["error", "leave_out"] = "error",
    left_out: Collection[str] = (),
    limit_train: float | None = None,
    skip_train: int = 0,
) -> Split:
    """Case ids of train, val and test; no patient is in two of them. Raises UserError.

    val, test: a patient's place in [0, 1) is a hash of (seed, patient): below `test` is the test split, the next `val`
    the validation split. So a part stays as it is when cases are added, and has its size in expectation only: of n
    patients the test split gets a share of `test` +- sqrt(test * (1 - test) / n). Measured with test=0.2 over 200 seeds
    (standard deviation, and the range of 90 %): 20 patients 0.07 (0.10 to 0.30), 50: 0.06 (0.10 to 0.30), 120: 0.04
    (0.13 to 0.26), 500: 0.02 (0.17 to 0.23). Where exact sizes matter, write the split down (`file`).
    fold: k makes the k-th of `folds` equal ranges of [0, 1) the test split instead, so that over all k every case is
    tested once; val is then a fraction of the rest, by a second hash.
    stratify: every class of at least three patients (for folds, of at least `folds`) is in every part, and no part is
    empty as long as there are as many patients as parts. Where a part would lack a class it borrows the patient nearest
    to its range (see medexp/data/splits/places.py). A borrowed one may move when cases are added. Nobody else moves, except:
    patients of a class that grows to three only then (for folds, to `folds`; to four for two folds), or of several
    classes whose rarest one changes; and where a borrowed patient changes fold, val may borrow another. A patient counts as the rarest
    of their classes. strata: classes by case id, instead of those of the records (the rarest label of a label map).

    Where the data set comes with a split of its own it is kept (every record has a part, and there are no folds); a
    part that it lacks is drawn from its training cases. file: a split file that is kept instead, see
    medexp/data/splits/files.py; unlisted: what becomes of cases that it does not name; left_out: cases that were left
    out of the data set, so that the file may still name them. limit_train, skip_train: a part of the training cases, by class where
    the split is stratified (see medexp/data/splits/few.py); val and test stay whole.
    """
    check_few(limit_train, skip_train)
    _check_options(records, val, test, fold, folds, file)
    if file is not None:
        records, fold = apply_file(records, Path(file), fold, unlisted, left_out), None
    given = {record.split for record in records if record.split is not None}
    _check_given(records, fold)
    if given:
        check_split({part: [r.case_id for r in records if r.split == part] for part in PARTS}, records)
    patients = _by_patient(records if not given else [record for record in records if record.split == "train"])
    stratum = _strata(patients, strata) if stratify else {}
    fractions = {part: size for part, size in (("test", test), ("val", val)) if part not in given}
    drawn = (
        _drawn(patients, seed, fractions, stratum)
        if fold is None
        else _folded(patients, seed, val, fold, folds, stratum)
    )
    split: Split = {part: [] for part in PARTS}
    for record in sorted(records, key=lambda record: record.case_id):
        kept = record.split if record.split not in (None, "train") else None
        split[kept or drawn[record.group]].append(record.case_id)
    for part in fractions if given else ():
        log.info("the given split has no %s: %d of its training cases are drawn", part, len(split[part]))
    _check_parts(split, len(_by_patient(records)), val, test)
    groups = {record.case_id: record.group for record in records}
    return {**split, "train": few_of(split["train"], groups, limit_train, skip_train, stratum)}


def _check_options(
    records: list[Record], val: float, test: float, fold: int | None, folds: int, file: str | None
) -> None:
    if not records:
        raise UserError("dataset.root: holds no cases to split")
    for key, value in (("val", val), ("test", test)):
        if not 0 < value < 1:
            raise UserError(f"dataset.split.{key}: {value} is not between 0 and 1")
    if fold is None and val + test >= 1:
        raise UserError(
            f"dataset.split: val {val} and test {test} leave nothing to train on; their sum must be below 1"
        )
    if folds < 2:
        raise UserError(f"dataset.split.folds: {folds} is less than 2")
    if fold is not None and file is None and not 0 <= fold < folds:
        raise UserError(f"dataset.split.fold: {fold} is not one of 0..{folds - 1} (dataset.split.folds={folds})")


def _check_given(records: list[Record], fold: int | None) -> None:
    """A split that comes with the data is kept whole or not at all; nothing of it is passed over in silence."""
    odd = [
        f"case {r.case_id}: part '{r.split}' is not one of train, val, test" for r in records if r.split not in _GIVEN
    ]
    if odd:
        raise Faults(f"{len(odd)} faults in the split of the data set", odd)
    without = [record.case_id for record in records if record.split is None]
    if len(without) == len(records):
        return
    if without:
        seen = f"{len(without)} of {len(records)} cases have no part in the split of the data set (e.g. {without[0]})"
        raise UserError(f"dataset.split: {seen}; name a part for each or for none")
    if fold is not None:
        seen = f"{fold}, but the data set comes with a split of its own"
        raise UserError(f"dataset.split.fold: {seen}; set dataset.split.fold=null")


def _check_parts(split: Split, patients: int, val: float, test: float) -> None:
    empty = [part for part in PARTS if not split[part]]
    if empty:
        cases = sum(map(len, split.values()))
        raise UserError(
            f"dataset.split: no case is left for {' and '.join(empty)} ({cases} cases of {patients} patients, "
            f"val={val}, test={test}); add cases or change dataset.split.val and dataset.split.test"
        )


def _by_patient(records: Iterable[Record]) -> dict[str, list[Record]]:
    patients: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        patients[record.group].append(record)
    return dict(patients)


def _strata(patients: dict[str, list[Record]], strata: Mapping[str, str] | None) -> dict[str, str]:
    """The rarest class of each patient, "" without any."""
    classes = [[name for record in records for name in _classes(record, strata)] for records in patients.values()]
    return dict(zip(patients, rarest(classes), strict=True))


def _classes(record: Record, strata: Mapping[str, str] | None) -> list[str]:
    if strata is None:
        return classes_of(record)
    return [strata[record.case_id]] if record.case_id in strata else []


def _drawn(patients: Iterable[str], seed: int, fractions: dict[str, float], stratum: dict[str, str]) -> Parts:
    """Parts of the given fractions, and train. Val alone has a hash of its own: within test's it would be lopsided."""
    purpose = "split" if "test" in fractions else "val"
    parts = [*fractions, "train"]
    bounds = [0.0, *accumulate(fractions.values()), 1.0]
    at = {name: place(seed, purpose, name) for name in patients}
    return {name: parts[index] for name, index in assign(at, bounds, stratum).items()}


def _folded(
    patients: dict[str, list[Record]], seed: int, val: float, fold: int, folds: int, stratum: dict[str, str]
) -> Parts:
    """Fold `fold` as the test split; which fold a patient is in is the same for every `fold`."""
    if len(patients) < folds:
        raise UserError(
            f"dataset.split.folds: {folds} folds of {len(patients)} patients; each fold needs one: "
            f"set dataset.split.folds={max(len(patients), 2)} or less, or add cases"
        )
    bounds = [index / folds for index in range(folds)] + [1.0]
    at = {name: place(seed, "split", name) for name in patients}
    seats = 2 if folds == 2 else 1  # the one other fold is both train and val
    tested = {name for name, index in assign(at, bounds, stratum, seats).items() if index == fold}
    rest = _drawn([name for name in patients if name not in tested], seed, {"val": val}, stratum)
    return rest | dict.fromkeys(tested, "test")


def check_split(split: Split, records: Iterable[Record]) -> None:
    """Raises Faults where a split names cases that are not there, or puts a patient into two parts."""
    by_case = {record.case_id: record for record in records}
    problems = [
        f"{part}: case {case} is not in the data set"
        for part, ids in split.items()
        for case in ids
        if case not in by_case
    ]
    problems += torn(split, {case: record.group for case, record in by_case.items()})
    if problems:
        raise Faults(f"{len(problems)} faults in the split", problems)
