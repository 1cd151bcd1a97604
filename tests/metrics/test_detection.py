"""Scores of found objects: rows that tell all that the summary needs."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from medexp.errors import UserError
from medexp.metrics.boxes import RATES
from medexp.metrics.detection import DetectionScores

TRUE = np.array([[0.0, 0, 10, 10, 0], [20, 20, 30, 40, 0], [5, 5, 9, 9, 1]])
FOUND = np.array([[21.0, 21, 29, 37, 0.6, 0], [0, 0, 10, 10, 0.9, 0], [50, 50, 60, 60, 0.8, 0], [1, 1, 9, 9, 0.5, 0]])
NONE = np.zeros((0, 5))


def rows(scores: DetectionScores) -> list[Any]:
    return [scores.case(FOUND, TRUE, (2.0, 0.5)), scores.case(FOUND[2:3], NONE, (2.0, 0.5))]


def test_a_row_counts_objects_and_hits_and_keeps_the_matches() -> None:
    scores = DetectionScores(["cell", "big cell"])
    row = scores.case(FOUND, TRUE, (2.0, 0.5))
    assert (row["objects"], row["hits"], row["boxes"]) == (3, 2, 4)
    matches = json.loads(str(row["matches"]))
    assert matches["cell"] == {
        "scores": [0.9, 0.8, 0.6, 0.5],
        "right": {"0.1": [1, 0, 1, 0], "0.5": [1, 0, 1, 0]},
        "hit": [0, -1, 1, -2],
        "mm": [10.0, 14.142],  # geometric means of 20 and 5, of 20 and 10 mm
    }
    assert matches["big_cell"] == {"scores": [], "right": {"0.1": [], "0.5": []}, "hit": [], "mm": [4.0]}


def test_the_summary_is_that_of_the_pooled_boxes() -> None:
    """Of class cell: two objects in two scans; right .9, .6, wrong .8 twice, once more .5."""
    summary = DetectionScores(["cell", "other"]).summarize(rows(DetectionScores(["cell", "other"])))
    cell = (51 * 1 + 50 * 2 / 4) / 101
    assert summary["map_0.1"]["per_class"]["cell"] == {"mean": pytest.approx(cell), "std": None, "n": 2}
    assert summary["map_0.1"]["per_class"]["other"]["mean"] == 0
    assert summary["map_0.1"]["mean"] == pytest.approx(cell / 2)
    assert summary["map_0.1"]["n"] == 3
    at = [summary[f"sensitivity_{rate:g}"]["per_class"]["cell"]["mean"] for rate in RATES]
    assert at == [0.5, 0.5, 0.5, 1, 1, 1, 1]
    assert summary["cpm"]["per_class"]["cell"]["mean"] == pytest.approx(5.5 / 7)
    assert summary["froc"]["cell"] == {"false_positives_a_scan": [0, 0, 1, 1], "sensitivity": [0, 0.5, 0.5, 1]}


def test_rows_read_from_a_table_give_the_same_summary() -> None:
    scores = DetectionScores(["cell", "other"])
    table = pd.read_csv(io.StringIO(pd.DataFrame(rows(scores)).to_csv(index=False)))
    assert scores.summarize(table.to_dict("records")) == scores.summarize(rows(scores))
    json.dumps(scores.summarize(rows(scores)), allow_nan=False)


def test_sensitivity_by_size_counts_what_is_found_at_the_rate_that_is_asked() -> None:
    limits = DetectionScores(["cell", "other"], sizes_mm=[12], size_rate=0.5)
    small, large = limits.summarize(rows(limits))["by_size"]["per_class"]["cell"]
    assert small == {"from_mm": 0, "to_mm": 12, "n": 1, "sensitivity": 1}
    assert large == {"from_mm": 12, "to_mm": None, "n": 1, "sensitivity": 0}
    later = DetectionScores(["cell", "other"], sizes_mm=[12], size_rate=1.0)
    assert [group["sensitivity"] for group in later.summarize(rows(later))["by_size"]["per_class"]["cell"]] == [1, 1]


def test_a_hit_may_be_an_overlap() -> None:
    """A centre in the corner of the object's box, with an overlap above a tenth; a small box in its middle."""

    def hits(box: list[float], how: Any) -> Any:
        return DetectionScores(["cell"], hit=how).case(np.array([[*box, 0.9, 0]]), TRUE[:1], (1, 1))["hits"]

    assert [hits([5, 5, 14, 14], how) for how in ("centre", "overlap")] == [0, 1]
    assert [hits([4, 4, 6, 6], how) for how in ("centre", "overlap")] == [1, 0]


def test_a_class_that_no_case_has_is_left_out_of_the_mean_and_said() -> None:
    scores = DetectionScores(["cell", "gone"])
    summary = scores.summarize([scores.case(FOUND, TRUE[:2], (1, 1))])
    assert summary["map_0.5"]["per_class"]["gone"]["reason"] == "no case has an object of the class"
    assert summary["map_0.5"]["mean"] == summary["map_0.5"]["per_class"]["cell"]["mean"]
    empty = scores.summarize([scores.case(np.zeros((0, 6)), NONE, (1, 1))])
    assert empty["cpm"]["mean"] is None
    assert empty["cpm"]["reason"] == "no case has an object"
    assert empty["froc"] == empty["by_size"]["per_class"] == {}


def test_a_background_is_no_class_of_objects() -> None:
    assert DetectionScores(["background", "cell"], background=True).classes == ["cell"]
    with pytest.raises(UserError, match=r"metrics\.test\.overlaps"):
        DetectionScores(["cell"], overlaps=[0.0])
