"""Splits: by patient, stratified, a function of the seed and the ids alone."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medexp.data.records import Record
from medexp.data.splits import PARTS, check_split, make_split
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


def test_fractions_hold_within_each_class() -> None:
    records = [Record(f"{name}{i}", (), target=name) for name, n in (("ill", 20), ("well", 80)) for i in range(n)]
    split = make_split(records, seed=3, val=0.1, test=0.2)
    assert {part: Counter(case[:3] for case in split[part]) for part in PARTS} == {
        "train": {"ill": 14, "wel": 56},
        "val": {"ill": 2, "wel": 8},
        "test": {"ill": 4, "wel": 16},
    }


def test_rounding_of_many_small_classes_adds_up_to_the_fractions() -> None:
    records = [Record(f"{k}_{i}", (), target=k) for k in range(20) for i in range(6)]  # 0.9 and 1.2 patients a class
    split = make_split(records, seed=0, val=0.15, test=0.2)
    assert {part: len(split[part]) for part in PARTS} == {"train": 76, "val": 20, "test": 24}


def test_another_seed_gives_another_split() -> None:
    assert make_split(cases(40), seed=0) != make_split(cases(40), seed=1)


def test_one_more_patient_moves_hardly_anyone() -> None:
    before = make_split(cases(100), seed=0)
    after = make_split(cases(101), seed=0)
    part = {case: name for name in PARTS for case in after[name]}
    assert sum(part[case] != name for name in PARTS for case in before[name]) <= 3


def test_a_patient_counts_as_the_rarest_of_their_classes() -> None:
    common = [Record(f"well{i}", (), target="well") for i in range(30)]
    mixed = [Record(f"{t}_of_{i}", (), target=t, patient_id=f"m{i}") for i in range(3) for t in ("ill", "well")]
    split = make_split(common + mixed, seed=0)
    assert [sum(case.startswith("ill") for case in split[part]) for part in PARTS] == [1, 1, 1]


def test_targets_that_are_lists_or_numbers_with_fractions_are_not_stratified() -> None:
    records = [Record(f"c{i:02d}", (), target=target) for i, target in enumerate([[0, 1], [1, 1], 0.5, 1.5] * 5)]
    assert make_split(records, seed=0) == make_split(records, seed=0, stratify=False)


def given_split(**counts: int) -> list[Record]:
    return [Record(f"{part}{i:02d}", (), split=part) for part, n in counts.items() for i in range(n)]


def test_a_given_split_is_kept() -> None:
    split = make_split(given_split(train=3, val=1, test=2), seed=0)
    assert split == {"train": ["train00", "train01", "train02"], "val": ["val00"], "test": ["test00", "test01"]}


@pytest.mark.parametrize(("kept", "drawn", "count"), [("test", "val", 3), ("val", "test", 4)])
def test_a_part_that_the_given_split_lacks_is_drawn_from_its_training_cases(kept: str, drawn: str, count: int) -> None:
    split = make_split(given_split(train=20, **{kept: 5}), seed=0, val=0.15, test=0.2)
    assert split[kept] == [f"{kept}{i:02d}" for i in range(5)]
    assert len(split[drawn]) == count
    assert all(case.startswith("train") for case in split[drawn] + split["train"])


def test_a_given_split_with_a_patient_in_two_parts_is_refused() -> None:
    records = [*given_split(train=2, val=1, test=1), Record("again", (), patient_id="train00", split="test")]
    with pytest.raises(Faults, match=r"one patient is in test \(case again\) and in train \(case train00\)"):
        make_split(records, seed=0)


def test_a_split_given_for_some_cases_only_is_refused_not_ignored() -> None:
    with pytest.raises(UserError, match=r"1 of 4 cases have no part .*\(e.g. odd\); name a part for each or for none"):
        make_split([*given_split(train=2, test=1), Record("odd", ())], seed=0)


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
