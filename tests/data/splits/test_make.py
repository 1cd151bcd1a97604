"""Splits: by patient, stratified, a function of the seed and the ids alone, and nobody moves because cases were added."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medexp.data.records import Record
from medexp.data.splits.make import PARTS, check_split, make_split
from medexp.data.splits.places import place
from medexp.errors import Faults, UserError


def cases(count: int, scans: int = 1, **fields: Any) -> list[Record]:
    return [Record(f"p{i:03d}_s{s}", (), patient_id=f"p{i:03d}", **fields) for i in range(count) for s in range(scans)]


@st.composite
def data_sets(draw: st.DrawFn) -> list[Record]:
    patients = draw(st.lists(st.tuples(st.integers(1, 3), st.sampled_from(["a", "b", None])), min_size=12, max_size=60))
    return [
        Record(f"c{p}_{scan}", (), target=target, patient_id=f"patient{p}")
        for p, (scans, target) in enumerate(patients)
        for scan in range(scans)
    ]


@settings(max_examples=40, deadline=None)
@given(records=data_sets(), seed=st.integers(0, 10**6), shuffle=st.integers())
def test_parts_are_disjoint_complete_grouped_by_patient_and_blind_to_the_order_of_files(
    records: list[Record], seed: int, shuffle: int
) -> None:
    split = make_split(records, seed=seed)
    assert sorted(case for part in PARTS for case in split[part]) == sorted(r.case_id for r in records)
    assert all(split[part] == sorted(split[part]) and split[part] for part in PARTS)
    group = {record.case_id: record.group for record in records}
    patients = [{group[case] for case in split[part]} for part in PARTS]
    assert sum(map(len, patients)) == len(set().union(*patients))
    shuffled = random.Random(shuffle).sample(records, len(records))
    assert make_split(shuffled, seed=seed) == split


@settings(max_examples=25, deadline=None)
@given(records=data_sets(), seed=st.integers(0, 10**6), folds=st.integers(2, 6))
def test_over_all_folds_every_case_is_tested_once(records: list[Record], seed: int, folds: int) -> None:
    splits = [make_split(records, seed=seed, fold=k, folds=folds) for k in range(folds)]
    tested = [case for split in splits for case in split["test"]]
    assert sorted(tested) == sorted(record.case_id for record in records)
    for split in splits:
        check_split(split, records)
        assert sum(len(split[part]) for part in PARTS) == len(records)


@settings(max_examples=40, deadline=None)
@given(
    counts=st.lists(st.integers(3, 30), min_size=1, max_size=5),
    val=st.floats(0.05, 0.5),
    test=st.floats(0.05, 0.45),
    seed=st.integers(0, 10**6),
)
def test_a_class_of_three_or_more_patients_is_in_every_part(
    counts: list[int], val: float, test: float, seed: int
) -> None:
    records = [Record(f"{k}_{i}", (), target=f"class{k}") for k, n in enumerate(counts) for i in range(n)]
    split = make_split(records, seed=seed, val=val, test=test)
    target = {record.case_id: record.target for record in records}
    for part in PARTS:
        assert {target[case] for case in split[part]} == {f"class{k}" for k in range(len(counts))}


def patients_of(sizes: dict[str, int]) -> list[Record]:
    return [Record(f"{name}{i:03d}", (), target=name) for name, size in sizes.items() for i in range(size)]


def part_of(split: dict[str, list[str]]) -> dict[str, str]:
    return {case: part for part, ids in split.items() for case in ids}


class_sizes = st.dictionaries(st.sampled_from("abc"), st.integers(4, 12), min_size=1)
newcomers = st.lists(st.tuples(st.integers(0, 999), st.sampled_from("abcd")), max_size=12, unique_by=lambda new: new[0])


def added(records: list[Record], new: list[tuple[int, str]]) -> list[Record]:
    known = {
        record.target for record in records
    }  # names fall between those that are there; a new class changes nothing for the others
    return records + [Record(f"{name}{i:04d}", (), target=name) for i, name in new if name in known or name == "d"]


@settings(max_examples=200, deadline=None)
@given(
    sizes=class_sizes,
    new=newcomers,
    seed=st.integers(0, 10**6),
    val=st.floats(0.02, 0.5),
    test=st.floats(0.02, 0.45),
    stratify=st.booleans(),
)
def test_only_borrowed_patients_move_when_patients_are_added(
    sizes: dict[str, int], new: list[tuple[int, str]], seed: int, val: float, test: float, stratify: bool
) -> None:
    records = patients_of(sizes)
    options: dict[str, Any] = {"seed": seed, "val": val, "test": test, "stratify": stratify}
    before = part_of(make_split(records, **options))
    after = part_of(make_split(added(records, new), **options))
    for case, part in before.items():
        at = place(seed, "split", case)
        home = "test" if at < test else "val" if at < test + val else "train"
        assert after[case] == part or part != home


@settings(max_examples=100, deadline=None)
@given(
    sizes=class_sizes,
    new=newcomers,
    seed=st.integers(0, 10**6),
    folds=st.integers(2, 4),
    stratify=st.booleans(),
)
def test_only_borrowed_patients_change_their_fold_when_patients_are_added(
    sizes: dict[str, int], new: list[tuple[int, str]], seed: int, folds: int, stratify: bool
) -> None:
    def folds_of(records: list[Record]) -> dict[str, int]:
        options: dict[str, Any] = {"seed": seed, "folds": folds, "stratify": stratify}
        return {case: k for k in range(folds) for case in make_split(records, fold=k, **options)["test"]}

    records = patients_of(sizes)
    before, after = folds_of(records), folds_of(added(records, new))
    for case, fold in before.items():
        assert after[case] == fold or fold != int(place(seed, "split", case) * folds)


@pytest.mark.parametrize("fold", [None, 0, 3])
def test_in_a_set_that_borrows_nobody_nobody_moves(fold: int | None) -> None:
    before = part_of(make_split(cases(100), seed=0, fold=fold))
    after = part_of(make_split(cases(300), seed=0, fold=fold))
    assert before == {case: after[case] for case in before}


def test_a_patient_who_gets_another_scan_stays() -> None:
    before = part_of(make_split(cases(40), seed=0))
    after = part_of(make_split(cases(40, scans=3), seed=0))
    assert all(after[case] == after[case[:-1] + "2"] == part for case, part in before.items())


def test_the_split_of_today_is_that_of_every_later_version() -> None:
    split = make_split(cases(12), seed=0)
    assert {part: " ".join(case[2:4] for case in ids) for part, ids in split.items()} == {
        "train": "00 03 04 07 08 09 10 11",
        "val": "06",
        "test": "01 02 05",
    }


@pytest.mark.parametrize(("count", "spread"), [(20, 0.08), (120, 0.042), (500, 0.021)])
def test_parts_have_their_fractions_in_expectation(count: int, spread: float) -> None:
    shares = [len(make_split(cases(count), seed=seed, test=0.2)["test"]) / count for seed in range(100)]
    assert abs(np.mean(shares) - 0.2) < 0.012
    assert np.std(shares) < spread * 1.15


def test_val_is_a_fraction_of_what_each_fold_leaves() -> None:
    splits = [make_split(cases(200), seed=seed, fold=seed % 5, val=0.15) for seed in range(60)]
    shares = [len(split["val"]) / (len(split["val"]) + len(split["train"])) for split in splits]
    assert abs(np.mean(shares) - 0.15) < 0.01
    assert np.std(shares) < 0.035


@pytest.mark.parametrize("classes", ["a", "ab", "abcdefghijkl"])
@pytest.mark.parametrize("count", range(3, 13))
def test_no_part_of_a_small_set_is_empty(count: int, classes: str) -> None:
    records = [Record(f"c{i}", (), target=classes[i % len(classes)]) for i in range(count)]
    for seed in range(40):
        assert all(make_split(records, seed=seed).values())  # an empty part raises
    for folds in (f for f in (2, 3, 5) if f <= count and (f, count) != (2, 3)):
        tested = [c for k in range(folds) for c in make_split(records, seed=1, fold=k, folds=folds)["test"]]
        assert sorted(tested) == sorted(record.case_id for record in records)


@settings(max_examples=40, deadline=None)
@given(sizes=st.lists(st.integers(4, 20), min_size=1, max_size=4), seed=st.integers(0, 10**6), folds=st.integers(2, 4))
def test_a_class_of_as_many_patients_as_folds_is_in_every_fold_and_beside_it(
    sizes: list[int], seed: int, folds: int
) -> None:
    records = patients_of(dict(zip("abcd", sizes, strict=False)))
    for fold in range(folds):
        split = make_split(records, seed=seed, fold=fold, folds=folds)
        assert all({case[0] for case in split[part]} == set("abcd"[: len(sizes)]) for part in PARTS)


def test_another_seed_gives_another_split() -> None:
    assert make_split(cases(40), seed=0) != make_split(cases(40), seed=1)


def test_more_folds_than_patients_are_refused() -> None:
    with pytest.raises(UserError, match=r"folds: 5 folds of 4 patients; .* set dataset\.split\.folds=4 or less"):
        make_split(cases(4, scans=2), seed=0, fold=0)


def test_the_rarest_label_of_each_case_stratifies_where_it_is_given() -> None:
    records = [Record(f"c{i:02d}", (), target="same") for i in range(60)]
    strata = {record.case_id: "tumour" if i < 3 else "liver" for i, record in enumerate(records)}
    del strata["c59"]  # a case whose label map could not be read
    rare = {"c00", "c01", "c02"}
    for seed in range(20):
        split = make_split(records, seed=seed, strata=strata)
        assert [len(rare & set(split[part])) for part in PARTS] == [1, 1, 1]
        assert make_split(records, seed=seed, strata=strata, stratify=False) == make_split(
            records, seed=seed, stratify=False
        )


@pytest.mark.parametrize("rare", [["bleed", "any"], [1, 0, 1]])
def test_a_case_of_several_classes_counts_as_the_rarest(rare: list[Any]) -> None:
    common = ["any"] if "any" in rare else [0, 0, 1]
    records = [Record(f"c{i:02d}", (), target=rare if i < 3 else common) for i in range(40)]
    for seed in range(10):
        split = make_split(records, seed=seed)
        assert [len({"c00", "c01", "c02"} & set(split[part])) for part in PARTS] == [1, 1, 1]


def test_a_patient_counts_as_the_rarest_of_their_classes() -> None:
    common = [Record(f"well{i}", (), target="well") for i in range(30)]
    mixed = [Record(f"{t}_of_{i}", (), target=t, patient_id=f"m{i}") for i in range(3) for t in ("ill", "well")]
    split = make_split(common + mixed, seed=0)
    assert [sum(case.startswith("ill") for case in split[part]) for part in PARTS] == [1, 1, 1]


def test_targets_that_are_measures_are_not_stratified() -> None:
    records = [Record(f"c{i:02d}", (), target=target) for i, target in enumerate([[0.2, 1.0], [3, 1], 0.5, 1.5] * 5)]
    assert make_split(records, seed=0) == make_split(records, seed=0, stratify=False)


def given_split(**counts: int) -> list[Record]:
    return [Record(f"{part}{i:02d}", (), split=part) for part, n in counts.items() for i in range(n)]


def test_a_given_split_is_kept() -> None:
    split = make_split(given_split(train=3, val=1, test=2), seed=0)
    assert split == {"train": ["train00", "train01", "train02"], "val": ["val00"], "test": ["test00", "test01"]}


@pytest.mark.parametrize("kept", [("test",), ("val",), ()])
def test_parts_that_the_given_split_lacks_are_drawn_from_its_training_cases(
    kept: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    records = given_split(train=200, **dict.fromkeys(kept, 5))
    with caplog.at_level("INFO"):
        split = make_split(records, seed=0, val=0.15, test=0.2)
    for part, share in (("val", 0.15), ("test", 0.2)):
        if part in kept:
            assert split[part] == [f"{part}{i:02d}" for i in range(5)]
        else:
            assert abs(len(split[part]) / 200 - share) < 0.06
            assert (
                f"the given split has no {part}: {len(split[part])} of its training cases are drawn" in caplog.messages
            )
    assert all(case.startswith("train") for case in split["train"])
    more = given_split(train=260, **dict.fromkeys(kept, 5))
    after = part_of(make_split(more, seed=0, val=0.15, test=0.2))
    assert all(after[case] == part for case, part in part_of(split).items())


def test_a_given_split_with_a_patient_in_two_parts_is_refused() -> None:
    records = [*given_split(train=2, val=1, test=1), Record("again", (), patient_id="train00", split="test")]
    with pytest.raises(Faults, match=r"one patient is in train \(case train00\) and in test \(case again\)"):
        make_split(records, seed=0)


def test_a_split_given_for_some_cases_only_is_refused_not_ignored() -> None:
    with pytest.raises(UserError, match=r"1 of 4 cases have no part .*\(e.g. odd\); name a part for each or for none"):
        make_split([*given_split(train=2, test=1), Record("odd", ())], seed=0)


def test_a_part_that_is_none_is_refused() -> None:
    records = [*given_split(train=2, test=1), Record("odd", (), split="valid"), Record("odder", (), split="")]
    with pytest.raises(Faults) as caught:
        make_split(records, seed=0)
    assert caught.value.problems == [
        "case odd: part 'valid' is not one of train, val, test",
        "case odder: part '' is not one of train, val, test",
    ]


def test_folds_of_a_data_set_with_its_own_split_are_refused_not_ignored() -> None:
    with pytest.raises(UserError, match=r"dataset\.split\.fold: 0, .* split of its own; set dataset\.split\.fold=null"):
        make_split(given_split(train=8, val=2, test=2), seed=0, fold=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"val": 0.0}, r"dataset\.split\.val: 0\.0 is not between 0 and 1"),
        ({"test": 1.0}, r"dataset\.split\.test: 1\.0 is not between"),
        ({"val": 0.5, "test": 0.5}, r"dataset\.split: val 0\.5 and test 0\.5 leave nothing to train on"),
        ({"fold": 5}, r"dataset\.split\.fold: 5 is not one of 0\.\.4"),
        ({"fold": -1}, r"dataset\.split\.fold: -1 is not one of 0\.\.4"),
        ({"fold": 0, "folds": 1}, r"dataset\.split\.folds: 1 is less than 2"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_split(cases(20), seed=0, **options)


def test_an_empty_part_is_named_with_the_counts() -> None:
    with pytest.raises(UserError, match=r"no case is left for val \(4 cases of 2 patients, val=0\.15, test=0\.2\)"):
        make_split(cases(2, scans=2), seed=0, stratify=False)


def test_no_cases_are_named() -> None:
    with pytest.raises(UserError, match=r"dataset\.root: holds no cases"):
        make_split([], seed=0)


def test_a_split_file_with_unknown_cases_or_a_torn_patient_is_refused_with_all_of_them() -> None:
    split = {"train": ["p000_s0", "gone"], "val": ["p000_s1"], "test": ["lost"]}
    with pytest.raises(Faults) as caught:
        check_split(split, cases(2, scans=2))
    assert caught.value.problems == [
        "train: case gone is not in the data set",
        "test: case lost is not in the data set",
        "one patient is in train (case p000_s0) and in val (case p000_s1)",
    ]


def test_a_sound_split_file_passes() -> None:
    records = cases(10, scans=2)
    check_split(make_split(records, seed=0), records)
