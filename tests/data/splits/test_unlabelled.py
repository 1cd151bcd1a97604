"""Who keeps a label, who is learnt from without one, and who must not be."""

from __future__ import annotations

import json
import logging
from functools import partial
from pathlib import Path

import pytest

from medexp.data.records import Record
from medexp.data.splits.draw import draw
from medexp.data.splits.files import torn
from medexp.data.splits.make import make_split
from medexp.data.splits.unlabelled import bare, check_labelled, set_aside
from medexp.errors import UserError

IMAGE = (Path("a.nii"),)


def record(number: int, labelled: bool = True, patient: str = "", split: str | None = None) -> Record:
    return Record(f"c{number}", IMAGE, Path("b.nii") if labelled else None, patient_id=patient, split=split)


TEN = [record(number) for number in range(10)]
SPLIT = {"train": [f"c{number}" for number in range(8)], "val": ["c8"], "test": ["c9"]}


@pytest.mark.parametrize(("labelled", "count"), [(3, 3), (0.25, 2), (0.01, 1), (7, 7)])
def test_so_many_training_cases_keep_their_labels(labelled: float, count: int) -> None:
    found = set_aside(SPLIT, TEN, "mask", labelled)
    assert len(found["train"]) == count
    assert sorted(found["train"] + found["unlabelled"]) == SPLIT["train"]
    assert (found["val"], found["test"]) == (["c8"], ["c9"])


def test_the_few_are_among_the_many_and_the_same_as_of_limit_train() -> None:
    few, more = (set(set_aside(SPLIT, TEN, "mask", count)["train"]) for count in (2, 5))
    assert few < more
    limited = make_split(TEN, seed=0, limit_train=2)
    whole = make_split(TEN, seed=0)
    assert set_aside(whole, TEN, "mask", 2)["train"] == limited["train"]


def test_cases_without_a_label_are_all_learnt_from_but_for_those_of_held_out_patients(
    caplog: pytest.LogCaptureFixture,
) -> None:
    known = [record(0, patient="p"), record(8, patient="v"), record(9, patient="t")]
    others = [record(10, False, "p"), record(11, False, "t"), record(12, False), record(13, False, split="test")]
    split = {"train": ["c0"], "val": ["c8"], "test": ["c9"]}
    with caplog.at_level(logging.INFO):
        found = set_aside(split, [*known, *others], "mask", None)
    assert found == {**split, "unlabelled": ["c10", "c12"]}
    assert "2 unlabelled cases are of val and test patients and are left out" in caplog.text
    groups = {one.case_id: one.group for one in [*known, *others]}
    assert torn(found, groups) == []  # a patient may be in train and among the unlabelled
    assert torn({**split, "unlabelled": ["c11"]}, groups)


def test_nothing_left_to_learn_from_is_said() -> None:
    with pytest.raises(UserError, match="of 8 training cases all are labelled"):
        set_aside(SPLIT, TEN, "mask", None)
    with pytest.raises(UserError, match="of 8 training cases 8 are labelled"):
        set_aside(SPLIT, TEN, "mask", 8)


@pytest.mark.parametrize("labelled", [0, -1, 2.5, -0.1, float("nan"), float("inf")])
def test_a_number_or_share_that_means_nothing_is_refused(labelled: float) -> None:
    with pytest.raises(UserError, match="neither a number of cases nor a share"):
        check_labelled(labelled, wanted=True)


def test_one_as_a_share_is_not_taken_for_one_case() -> None:
    with pytest.raises(UserError, match=r"dataset\.labelled: 1\.0 may be one case or all of them; give 1, or null"):
        check_labelled(1.0, wanted=True)
    check_labelled(1, wanted=True)


def test_labels_that_nobody_sets_aside_are_refused() -> None:
    with pytest.raises(UserError, match=r"dataset\.labelled: 0\.1, but nothing learns"):
        check_labelled(0.1, wanted=False)


def test_a_bare_case_tells_nothing_of_its_label() -> None:
    full = Record("a", IMAGE, Path("b.nii"), "lesion", "p")
    assert bare(full) == Record("a", IMAGE, patient_id="p")


def test_a_split_file_of_such_a_run_gives_the_same_parts_again(tmp_path: Path) -> None:
    file = tmp_path / "split.json"
    parts = set_aside(SPLIT, TEN, "mask", 3)
    file.write_text(json.dumps(parts))

    chosen = partial(make_split, file=str(file))
    told = {"seed": 0, "target": "mask", "classes": [], "preparation": None, "store": None, "left_out": ()}
    again = draw(chosen, TEN, **told, unlabelled=True, labelled=None)  # type: ignore[arg-type]
    assert again == parts
    assert draw(chosen, TEN, **told, unlabelled=False, labelled=None) == {  # type: ignore[arg-type]
        part: cases for part, cases in parts.items() if part != "unlabelled"
    }
