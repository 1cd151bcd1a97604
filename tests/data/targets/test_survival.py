"""Follow-up as a target, and where it comes from: tables and the phantom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medexp.data.phantom.survival import follow_up
from medexp.data.records import Record
from medexp.data.sources import phantom, table
from medexp.data.targets import encode
from medexp.errors import Faults, UserError


def test_time_and_event_become_a_pair() -> None:
    assert encode(Record("a", (), target=[12.5, 1]), [], "survival").tolist() == [12.5, 1.0]
    assert encode(Record("a", (), target=(0, 0)), [], "survival").tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (None, "target None is no pair of time and event; name both columns"),
        ("dead", "target 'dead' is no pair"),
        ([1.0], "is no pair"),
        ([-2.0, 1], "time -2: a time of follow-up is 0 or more"),
        ([float("nan"), 1], "time nan: a time"),
        (["soon", 1], "time 'soon', event 1: numbers are needed"),
        ([3.0, 2], "event 2: 1 (it came) or 0 (censored) is needed"),
    ],
)
def test_what_is_no_follow_up_is_named_with_the_next_move(target: Any, message: str) -> None:
    with pytest.raises(UserError) as caught:
        encode(Record("case7", (), target=target), [], "survival")
    assert str(caught.value).startswith("case case7: ")
    assert message in str(caught.value)


def written(root: Path, *rows: str) -> Path:
    for name in "abc":
        (root / f"{name}.png").touch()
    (root / "labels.csv").write_text("\n".join(["image,months,died", *rows]) + "\n")
    return root


OPTIONS: dict[str, Any] = {"target": None, "time": "months", "event": "died"}


def test_columns_of_a_table_become_follow_up(tmp_path: Path) -> None:
    root = written(tmp_path, "a.png,12.5,1", "b.png,3,0", "c.png,0,1.0")
    assert [record.target for record in table.records(root, **OPTIONS)] == [[12.5, 1.0], [3.0, 0.0], [0.0, 1.0]]


def test_all_wrong_cells_of_follow_up_are_named_with_their_rows(tmp_path: Path) -> None:
    root = written(tmp_path, "a.png,-1,1", "b.png,later,2", "c.png,nan,no")
    with pytest.raises(Faults) as caught:
        table.records(root, **OPTIONS)
    assert caught.value.problems == [
        "row 2, column 'months': '-1' is no time of 0 or more",
        "row 3, column 'months': 'later' is no time of 0 or more",
        "row 3, column 'died': '2' is neither 1 (the event came) nor 0 (censored)",
        "row 4, column 'months': 'nan' is no time of 0 or more",
        "row 4, column 'died': 'no' is neither 1 (the event came) nor 0 (censored)",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({**OPTIONS, "event": None}, "dataset.source.event: no column, but dataset.source.time=months; name both"),
        ({**OPTIONS, "time": None}, "dataset.source.time: no column, but dataset.source.event=died; name both"),
        ({**OPTIONS, "target": "died"}, "dataset.source.target: 'died' beside time and event"),
        (OPTIONS, "dataset.source.event: all 2 rows of"),
    ],
)
def test_columns_that_give_no_follow_up_are_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        table.records(written(tmp_path, "a.png,1,0", "b.png,2,0"), **options)
    assert str(caught.value).startswith(message)


def test_phantom_patients_have_one_follow_up_each(phantom_2d: Path) -> None:
    options: dict[str, Any] = {"spatial_dims": 2, "patients": 12}
    cases = phantom.records(phantom_2d, **options, target="survival")
    assert [case.patient_id for case in cases] == [f"p{index:04d}" for index in range(12)]
    assert all(case.case_id.endswith("_s0") for case in cases)
    assert cases == phantom.records(phantom_2d, **options, target="survival")
    volumes = {case.case_id: case.target for case in phantom.records(phantom_2d, **options, target="lesion_volume_ml")}
    assert cases[3].target == follow_up(0, 3, volumes[cases[3].case_id], 2)


def test_lesions_hasten_the_event_and_three_of_ten_are_censored() -> None:
    healthy, ill = (np.array([follow_up(0, patient, volume, 2) for patient in range(1000)]) for volume in (0.0, 0.3))
    assert (ill[:, 0] <= healthy[:, 0]).all()  # the same draws, another rate
    assert np.median(ill[:, 0]) < 0.5 * np.median(healthy[:, 0])
    assert 0.2 < 1 - np.concatenate([healthy, ill])[:, 1].mean() < 0.4
    assert ((healthy * [10, 1]).round(6) % 1 == 0).all()  # tenths of a month
