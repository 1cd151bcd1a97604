"""A split whose training and validation cases are without findings."""

from __future__ import annotations

from pathlib import Path

import pytest

from medexp.data.records import Record
from medexp.data.splits.healthy import healthy_split
from medexp.data.splits.make import make_split
from medexp.errors import UserError

RECORDS = [Record(f"c{index}", (Path(f"{index}.nii"),), patient_id=f"p{index}") for index in range(60)]
FINDINGS = {f"c{index}": "lesion" for index in range(0, 60, 2)}


def test_findings_are_in_the_test_split_alone_and_nobody_moves() -> None:
    usual, split = make_split(RECORDS, seed=0, strata=FINDINGS), healthy_split(RECORDS, seed=0, strata=FINDINGS)
    assert split["test"] == usual["test"]
    assert any(case in FINDINGS for case in split["test"])
    assert any(case not in FINDINGS for case in split["test"])
    for part in ("train", "val"):
        assert split[part] == [case for case in usual[part] if case not in FINDINGS]


def test_a_data_set_without_healthy_cases_is_refused() -> None:
    everybody = {record.case_id: "lesion" for record in RECORDS}
    with pytest.raises(UserError, match=r"dataset\.split: no train case is without a finding"):
        healthy_split(RECORDS, seed=0, strata=everybody)


@pytest.mark.parametrize("options", [{"strata": None}, {"strata": FINDINGS, "stratify": False}])
def test_unread_label_maps_say_nothing_of_health(options: dict[str, object]) -> None:
    with pytest.raises(UserError, match="which cases are healthy is read from label maps"):
        healthy_split(RECORDS, seed=0, **options)  # type: ignore[arg-type]
