"""Mistakes in lines: what is said alike of many is said once."""

from __future__ import annotations

from medexp.errors import Faults, grouped

NAMES = ("a", "b", "c", "d", "e", "f")


def test_what_is_alike_of_many_cases_is_one_line_in_its_place() -> None:
    problems = ["first", *(f"case {name}: no label" for name in NAMES), "case z: another: thing"]
    lines = ["first", "6 cases: no label (cases a, b, c, d, e, f)", "case z: another: thing"]
    assert grouped(problems) == lines
    assert str(Faults("8 faults", problems)).splitlines() == ["8 faults", *(f"  {line}" for line in lines)]


def test_a_few_are_a_line_each() -> None:
    problems = [f"case {name}: no label" for name in NAMES[:4]]
    assert grouped(problems) == problems


def test_rows_of_a_table_are_no_cases() -> None:
    rows = [f"row {number}: column 'x' is empty" for number in range(2, 8)]
    assert grouped([*rows, "case a: column 'x' is empty"]) == [
        "6 rows: column 'x' is empty (rows 2, 3, 4, 5, 6, 7)",
        "case a: column 'x' is empty",
    ]
