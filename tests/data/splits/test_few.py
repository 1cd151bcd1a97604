"""Few labels: a part of the training cases, nested, by patient; val and test stay whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medexp.data.records import Record
from medexp.data.splits import make_split
from medexp.data.splits.few import few_of
from medexp.errors import UserError

RECORDS = [Record(f"c{i:03d}", (Path("x"),), patient_id=f"p{i // 2:03d}") for i in range(80)]


def split(**options: Any) -> dict[str, list[str]]:
    return make_split(RECORDS, seed=0, **options)


WHOLE = split()


@given(limit=st.integers(1, 40), skip=st.integers(0, 30))
def test_what_is_skipped_and_what_is_kept_are_apart_and_all(limit: int, skip: int) -> None:
    first, rest = split(limit_train=skip) if skip else {"train": []}, split(skip_train=skip)
    assert not set(first["train"]) & set(rest["train"])
    assert sorted([*first["train"], *rest["train"]]) == WHOLE["train"]
    few = split(skip_train=skip, limit_train=limit)
    assert len(few["train"]) == min(limit, len(rest["train"]))
    assert set(few["train"]) <= set(split(skip_train=skip, limit_train=limit + 3)["train"]) <= set(rest["train"])
    assert (few["val"], few["test"]) == (WHOLE["val"], WHOLE["test"])


def test_a_limit_below_one_is_a_share_of_the_training_cases() -> None:
    tenth = split(limit_train=0.1)["train"]
    assert len(tenth) == round(0.1 * len(WHOLE["train"]))
    assert set(tenth) <= set(split(limit_train=0.25)["train"])
    assert len(split(limit_train=0.001)["train"]) == 1
    assert split(limit_train=0.1, skip_train=4)["train"] != tenth


def test_cases_of_a_patient_are_taken_one_after_the_other() -> None:
    assert len({case_patient(case) for case in split(limit_train=6)["train"]}) == 3


@given(sizes=st.lists(st.integers(1, 30), min_size=2, max_size=4), share=st.floats(0.05, 1), skip=st.integers(0, 10))
def test_few_cases_have_the_classes_in_the_shares_of_all(sizes: list[int], share: float, skip: int) -> None:
    names = [f"{kind}" for kind, size in enumerate(sizes) for _ in range(size)]
    cases = [f"c{index:03d}" for index in range(len(names))]
    strata = dict(zip(cases, names, strict=True))
    patients = {case: case for case in cases}
    limit = max(1, round(share * len(cases)))
    few = few_of(cases, patients, limit, 0, strata)
    for kind, size in enumerate(sizes):
        assert abs(sum(strata[case] == f"{kind}" for case in few) - limit * size / len(cases)) < 2
    if skip < len(cases):
        rest = few_of(cases, patients, None, skip, strata)
        assert sorted([*rest, *(few_of(cases, patients, skip, 0, strata) if skip else [])]) == cases


def test_a_stratified_split_takes_few_of_every_class() -> None:
    records = [replace(record, target="ab"[index % 2]) for index, record in enumerate(RECORDS)]
    records = [replace(record, patient_id=record.case_id) for record in records]
    for limit in (2, 4, 8):
        few = make_split(records, seed=0, limit_train=limit)["train"]
        kinds = [record.target for record in records if record.case_id in few]
        assert min(kinds.count("a"), kinds.count("b")) >= max(1, limit // 2 - 1)


def case_patient(case: str) -> str:
    return next(record.patient_id for record in RECORDS if record.case_id == case)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"limit_train": 0}, "dataset.split.limit_train: 0 is less than 1"),
        ({"limit_train": 2.5}, "dataset.split.limit_train: 2.5 is no number of cases, and no share"),
        ({"limit_train": 1.0}, "dataset.split.limit_train: 1.0 may be one case or all of them; give 1, or null"),
        ({"skip_train": -1}, "dataset.split.skip_train: -1 is negative"),
        ({"skip_train": 80}, r"dataset.split.skip_train: 80 of \d+ training cases leaves none"),
    ],
)
def test_numbers_that_leave_nothing_are_refused(options: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        split(**options)
