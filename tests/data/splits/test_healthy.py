"""Cases with findings are for the test alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from medexp.data.preparation.prepare import Preparation
from medexp.data.records import Record
from medexp.data.splits.healthy import healthy_alone, ill
from medexp.data.splits.make import make_split
from medexp.errors import UserError

RECORDS = [
    Record(f"c{index}", (Path(f"{index}.nii"),), patient_id=f"p{index}", target=("ill", "healthy", 0, None)[index % 4])
    for index in range(60)
]
FINDINGS = {record.case_id for record in RECORDS if record.target in ("ill", None)}


def test_findings_are_in_the_test_split_alone_and_nobody_moves() -> None:
    usual = make_split(RECORDS, seed=0)
    split = healthy_alone(usual, FINDINGS, "healthy")
    assert split["test"] == usual["test"]
    assert {case in FINDINGS for case in split["test"]} == {True, False}
    for part in ("train", "val"):
        assert split[part] == [case for case in usual[part] if case not in FINDINGS]


def test_ill_is_whoever_is_not_told_to_be_of_the_first_class() -> None:
    assert ill(RECORDS, ["healthy", "ill"], "anomaly_by_class", Preparation(2, 1), None) == FINDINGS


def test_a_data_set_without_healthy_cases_is_refused() -> None:
    everybody = {record.case_id for record in RECORDS}
    with pytest.raises(
        UserError, match=r"dataset\.split: no train case is without a finding \(all \d+ have a class beside 'n'"
    ):
        healthy_alone(make_split(RECORDS, seed=0), everybody, "n")
