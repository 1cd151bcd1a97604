from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medexp.covariates import encoded, entries, lacking, learned, settled, width
from medexp.errors import UserError

ROWS = [{"age": "50", "sex": "F"}, {"age": "70", "sex": "M"}, {"age": "n/a", "sex": "F"}]
KNOWN = {"age": {"mean": 60.0, "std": 10.0}, "sex": ["F", "M"]}


def test_numbers_and_categories_are_found_in_the_training_rows() -> None:
    known = learned(entries(["age", "sex"]), ROWS)
    assert known == KNOWN
    assert settled(known)
    assert not settled(entries(["age"]))


def test_what_is_known_stays_as_it_is() -> None:
    assert learned({"age": {"mean": 1.0, "std": 2.0}, "sex": None}, ROWS) == {
        "age": {"mean": 1.0, "std": 2.0},
        "sex": ["F", "M"],
    }


def test_digits_are_a_category_where_that_is_said() -> None:
    rows = [{"centre": text} for text in ("1", "2", "10")]
    assert learned({"centre": "category"}, rows) == {"centre": ["1", "10", "2"]}


@pytest.mark.parametrize(
    ("row", "wanted"),
    [
        ({"age": "75", "sex": "M"}, [1.5, 0, 0, 1, 0]),
        ({"age": "", "sex": "F"}, [0, 1, 1, 0, 0]),
        ({"age": "60", "sex": "X"}, [0, 0, 0, 0, 1]),
        ({"age": None}, [0, 1, 0, 0, 1]),
        (None, [0, 1, 0, 0, 1]),
    ],
)
def test_a_row_becomes_numbers(row: Any, wanted: list[float]) -> None:
    assert encoded(KNOWN, row) == wanted
    assert len(wanted) == width(KNOWN)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=30))
def test_training_numbers_have_mean_zero_and_spread_one(values: list[float]) -> None:
    rows = [{"age": repr(value)} for value in values]
    known = learned(entries(["age"]), rows)
    found = [encoded(known, row)[0] for row in rows]
    scale = max(1.0, max(map(abs, values)) / known["age"]["std"])
    assert abs(sum(found) / len(found)) < 1e-4 * scale  # means and encoded values are rounded
    assert known["age"]["std"] > 0


def test_mistakes_are_named() -> None:
    with pytest.raises(UserError, match="none of 2 training cases has a value of age"):
        learned(entries(["age"]), [{"age": ""}, None])
    rows = [{"name": f"p{index}"} for index in range(30)]
    with pytest.raises(UserError, match=r"dataset\.covariates\.name: 30 values in 30 training cases .* no category"):
        learned(entries(["name"]), rows)
    with pytest.raises(UserError, match="covariate age: 'old' is no number"):
        encoded(KNOWN, {"age": "old", "sex": "F"})
    with pytest.raises(UserError, match=r"dataset\.covariates\.age: 'numbr'; allowed: null"):
        entries({"age": "numbr"})
    with pytest.raises(UserError, match=re.escape("{'mean': 1, 'std': 0}")):
        entries({"age": {"mean": 1, "std": 0}})


def test_what_is_missing_is_said_once_a_covariate() -> None:
    assert lacking(KNOWN, ROWS) == ["1 of 3 cases have no age: the mean of training stands in, with a mark"]
    assert lacking(KNOWN, [{"age": "3", "sex": "X"}]) == ["sex X: not seen in training, taken as missing"]
