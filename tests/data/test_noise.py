"""Wrong labels on purpose: as many as asked for, every other class as often, and the same for a seed and case."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from medexp.data.noise import check_noise, noisy
from medexp.data.records import Record
from medexp.errors import UserError

CLASSES = ["a", "b", "c"]


def records(count: int, target: str | int = "b") -> list[Record]:
    return [Record(f"case{number}", (Path("x.png"),), target=target) for number in range(count)]


def test_a_share_gets_each_of_the_other_classes_as_often() -> None:
    tally = Counter(record.target for record in noisy(records(6000), 0.4, 0, CLASSES))
    assert tally["a"] / 6000 == pytest.approx(0.2, abs=0.02)
    assert tally["c"] / 6000 == pytest.approx(0.2, abs=0.02)


def test_a_case_gets_its_label_by_seed_and_name_alone() -> None:
    whole = {record.case_id: record.target for record in noisy(records(50), 0.5, 3, CLASSES)}
    some = {record.case_id: record.target for record in noisy(records(50)[10:20], 0.5, 3, CLASSES)}
    assert some.items() <= whole.items()
    other = {record.case_id: record.target for record in noisy(records(50), 0.5, 4, CLASSES)}
    assert other != whole
    fewer = noisy(records(50), 0.2, 3, CLASSES)
    assert {record.case_id for record in fewer if record.target != "b"} < {
        case for case, t in whole.items() if t != "b"
    }


def test_classes_by_number_are_known() -> None:
    assert {record.target for record in noisy(records(200, target=1), 0.9, 0, CLASSES)} == {"a", "c", 1}


@pytest.mark.parametrize(("share", "target"), [(1.0, "index"), (-0.1, "index"), (0.4, "mask"), (0.4, "multilabel")])
def test_no_share_and_no_classes_are_refused(share: float, target: str) -> None:
    with pytest.raises(UserError, match=r"dataset\.label_noise"):
        check_noise(share, target)


def test_no_noise_fits_every_task() -> None:
    check_noise(0.0, "mask")
