"""Which cases are used: ids that are safe, modalities as the config says, and words on what is left out."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from medexp.data.records import Record
from medexp.data.select import few, listed_by, need_one_size, selected, small_parts
from medexp.errors import Faults, UserError

ROOT, HERE = Path("data"), Path("image.nii")


def record(case: str, *images: Path | None, patient: str = "") -> Record:
    return Record(case, images or (HERE,), patient_id=patient)


@pytest.mark.parametrize("case", ["../../evil", "a/b", "a\\b", "..", " ", "a\nb", "a\x00b", "scan #1", "#a"])
def test_an_id_that_would_lead_elsewhere_is_refused_with_all_others(case: str) -> None:
    with pytest.raises(Faults, match="2 case ids of data cannot be used") as caught:
        selected([record(case), record("fine"), record("also/odd")], ROOT, None, "error")
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize("case", ["é 1", "a#1", "a.b-c_d", "患者"])
def test_other_ids_are_kept(case: str) -> None:
    assert selected([record(case)], ROOT, None, "error") == [record(case)]


def test_ids_that_stand_twice_are_listed() -> None:
    with pytest.raises(Faults, match="1 case ids stand twice"):
        selected([record("a"), record("a")], ROOT, None, "error")


def test_cases_that_lack_a_modality_obey_the_policy(caplog: pytest.LogCaptureFixture) -> None:
    cases = [record("a", HERE, HERE), record("b", HERE, None)]
    with pytest.raises(Faults, match=r"dataset\.missing=zero or drop") as caught:
        selected(cases, ROOT, None, "error")
    assert caught.value.problems == ["case b: has no image for channel 1"]
    assert selected(cases, ROOT, None, "zero") == cases
    with caplog.at_level(logging.INFO):
        assert selected(cases, ROOT, None, "drop") == cases[:1]
    assert "1 of 2 cases lack a modality and are left out" in caplog.text
    with pytest.raises(UserError, match="drop leaves no case"):
        selected(cases[1:], ROOT, None, "drop")


def test_cases_named_in_a_file_are_left_out_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "bad.txt").write_text("b  # broken\n")
    with caplog.at_level(logging.INFO):
        assert selected([record("a"), record("b")], ROOT, str(tmp_path / "bad.txt"), "error") == [record("a")]
    assert "1 cases are left out" in caplog.text


@pytest.mark.parametrize(("missing", "told"), [("error", None), ("zero", True), ("drop", True)])
def test_a_source_is_told_that_modalities_may_be_missing(missing: str, told: bool | None) -> None:
    seen: dict[str, Any] = {}

    def source(root: Path, *, allow_missing: bool | None = None) -> list[Record]:
        seen["allow_missing"] = allow_missing
        return []

    listed_by(source, ROOT, missing)
    assert seen == {"allow_missing": told}
    assert listed_by(lambda root: [record("a")], ROOT, missing) == [record("a")]


def test_images_of_several_sizes_make_no_batch() -> None:
    need_one_size([(4, 5), (4, 5)], batch_size=2)
    need_one_size([(4, 5), (6, 5)], batch_size=1)
    with pytest.raises(UserError, match=r"dataset.patch_size: none, but cases differ in size .*plan=auto"):
        need_one_size([(4, 5), (6, 5)], batch_size=2)


def test_few_are_some_of_all_and_of_slices_the_first() -> None:
    ids = [f"{index:03d}" for index in range(100)]
    assert few(ids, None, False) == ids
    assert few(ids, 3, True) == ids[:3]
    chosen = few(ids, 10, False)
    assert len(chosen) == 10
    assert chosen == sorted(chosen)
    assert int(chosen[-1]) > 50


def test_a_few_volumes_are_whole_where_scores_are_of_volumes() -> None:
    ids = [f"a_{i:04d}" for i in range(3)] + [f"b_{i:04d}" for i in range(2)] + [f"c_{i:04d}" for i in range(4)]
    counts = {limit: len(few(ids, limit, True, whole=True)) for limit in (1, 3, 4, 5, 8, 9, 50)}
    assert counts == {1: 3, 3: 3, 4: 3, 5: 5, 8: 5, 9: 9, 50: 9}
    assert few([], 3, True, whole=True) == []


def test_a_word_is_said_on_small_parts() -> None:
    many = [record(f"{i}", patient=f"p{i}") for i in range(6)]
    parts = {"train": many[:1], "val": [record("x", patient="p"), record("y", patient="p")], "test": many}
    (said,) = small_parts(parts)
    assert said.startswith("val has 1 patient: ")
