"""Who is in train, val and test: by patient, stratified by class, a function of the seed and the ids alone."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from medexp.data.records import Record
from medexp.errors import Faults, UserError
from medexp.seeding import derive

Split = dict[str, list[str]]
PARTS = ("train", "val", "test")


def make_split(
    records: list[Record],
    *,
    seed: int,
    val: float = 0.15,
    test: float = 0.2,
    fold: int | None = None,
    folds: int = 5,
    stratify: bool = True,
) -> Split:
    """Case ids of train, val and test; no patient is in two of them.

    val, test: fractions of the patients, within each class where `stratify` and the records have one (a patient counts
    as the rarest of their classes). fold: k makes the k-th of `folds` equal parts the test split instead, so that over
    all k every case is tested once; val is drawn from the rest. Where the data set comes with a split of its own it is
    kept (every record has a part, and there are no folds); a part that it lacks is drawn from its training cases.
    Patients are ordered by a hash of (seed, patient), so the order of files does not matter.
    """
    _check_options(records, val, test, fold, folds)
    patients: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        patients[record.group].append(record)
    given = {record.split for record in records}
    _check_given(records, fold)
    if None not in given:
        parts = _given(records, given, seed, val, test, stratify)  # type: ignore[arg-type]
    elif fold is not None:
        parts = _folded(patients, seed, val, fold, folds, stratify)
    else:
        parts = _drawn(patients, seed, {"test": test, "val": val}, stratify)
    split = {part: sorted(record.case_id for name in parts[part] for record in patients[name]) for part in PARTS}
    if None not in given:
        split = {part: sorted(ids) for part, ids in _by_record(records, parts, given).items()}  # type: ignore[arg-type]
    for part, ids in split.items():
        if not ids:
            raise UserError(
                f"dataset.split: no case is left for {part} ({len(records)} cases of {len(patients)} patients, "
                f"val={val}, test={test}); add cases or change dataset.split.val and dataset.split.test"
            )
    return split


def _check_options(records: list[Record], val: float, test: float, fold: int | None, folds: int) -> None:
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
    if fold is not None and not 0 <= fold < folds:
        raise UserError(f"dataset.split.fold: {fold} is not one of 0..{folds - 1} (dataset.split.folds={folds})")


def _check_given(records: list[Record], fold: int | None) -> None:
    """A split that comes with the data is kept whole or not at all; nothing of it is passed over in silence."""
    without = [record.case_id for record in records if record.split is None]
    if len(without) == len(records):
        return
    if without:
        seen = f"{len(without)} of {len(records)} cases have no part in the split of the data set (e.g. {without[0]})"
        raise UserError(f"dataset.split: {seen}; name a part for each or for none")
    if fold is not None:
        seen = f"{fold}, but the data set comes with a split of its own"
        raise UserError(f"dataset.split.fold: {seen}; set dataset.split.fold=null")


def _strata(patients: dict[str, list[Record]], seed: int, stratify: bool) -> list[list[str]]:
    """Patients a class, each in hash order; one stratum where there are no classes."""
    classes = {
        name: [r.target for r in records if isinstance(r.target, str | int)] for name, records in patients.items()
    }
    tally = Counter(str(value) for values in classes.values() for value in values)
    strata: dict[str, list[str]] = defaultdict(list)
    for name in sorted(patients, key=lambda name: (derive(seed, "split", name), name)):
        values = sorted(map(str, classes[name]), key=lambda value: (tally[value], value))
        strata[values[0] if stratify and values else ""].append(name)
    return [strata[key] for key in sorted(strata)]


def _drawn(
    patients: dict[str, list[Record]], seed: int, fractions: dict[str, float], stratify: bool
) -> dict[str, list[str]]:
    """Parts by fraction within each stratum; a stratum of three or more patients is in every part."""
    parts: dict[str, list[str]] = {part: [] for part in PARTS}
    owed = dict.fromkeys(fractions, 0.0)
    for names in _strata(patients, seed, stratify):
        rest = names
        for part, fraction in fractions.items():
            exact = fraction * len(names) + owed[part]  # what rounding took from one stratum goes to the next
            least = 1 if len(names) >= len(fractions) + 1 else 0
            later = least * (len(fractions) - 1 - list(fractions).index(part))  # what the parts after this one need
            count = min(max(round(exact), least), max(len(rest) - 1 - later, 0)) if len(names) > 1 else 0
            owed[part] = exact - count
            parts[part] += rest[:count]
            rest = rest[count:]
        parts["train"] += rest
    return parts


def _folded(
    patients: dict[str, list[Record]], seed: int, val: float, fold: int, folds: int, stratify: bool
) -> dict[str, list[str]]:
    dealt = [name for names in _strata(patients, seed, stratify) for name in names]
    test = dealt[fold::folds]  # dealt like cards, stratum after stratum: every fold gets its share of each
    rest = {name: patients[name] for name in dealt if name not in set(test)}
    return {**_drawn(rest, seed, {"val": val}, stratify), "test": test}


def _given(
    records: list[Record], given: set[str], seed: int, val: float, test: float, stratify: bool
) -> dict[str, list[str]]:
    """Patients to move out of the given training cases, for parts that the given split lacks."""
    lacking = {part: fraction for part, fraction in (("test", test), ("val", val)) if part not in given}
    patients: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if record.split == "train":
            patients[record.group].append(record)
    check_split({part: [r.case_id for r in records if r.split == part] for part in sorted(given)}, records)
    return _drawn(patients, seed, lacking, stratify)


def _by_record(records: list[Record], moved: dict[str, list[str]], given: set[str]) -> Split:
    where = {name: part for part in ("val", "test") if part not in given for name in moved[part]}
    split: Split = {part: [] for part in PARTS}
    for record in records:
        part = where.get(record.group, "train") if record.split == "train" else str(record.split)
        split[part].append(record.case_id)
    return split


def check_split(split: Split, records: Iterable[Record]) -> None:
    """Raises Faults where a split names cases that are not there, or puts a patient into two parts."""
    by_case = {record.case_id: record for record in records}
    problems = [
        f"{part}: case {case} is not in the data set"
        for part, ids in split.items()
        for case in ids
        if case not in by_case
    ]
    seen: dict[str, tuple[str, str]] = {}
    for part, ids in split.items():
        for case in filter(by_case.__contains__, ids):
            group = by_case[case].group
            other, first = seen.setdefault(group, (part, case))
            if other != part:
                problems.append(f"one patient is in {other} (case {first}) and in {part} (case {case})")
    if problems:
        raise Faults(f"{len(problems)} faults in the split", problems)
