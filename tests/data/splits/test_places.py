"""Parts as ranges of [0, 1): who is at home where, who is borrowed, and that nobody else ever moves."""

from __future__ import annotations

from itertools import accumulate

from hypothesis import given, settings
from hypothesis import strategies as st

from medexp.data.splits.places import assign, place
from medexp.seeding import derive

BOUNDS = [0.0, 0.2, 0.4, 1.0]


def test_a_place_is_a_function_of_seed_purpose_and_patient_and_even_over_the_unit_interval() -> None:
    assert place(3, "split", "p1") == derive(3, "split", "p1") / 2**31
    places = [place(0, "split", f"p{index}") for index in range(4000)]
    assert all(0 <= at < 1 for at in places)
    assert all(abs(sum(at < edge for at in places) / 4000 - edge) < 0.03 for edge in (0.1, 0.25, 0.5, 0.9))


def test_with_somebody_in_every_range_all_are_at_home() -> None:
    places = {"a": 0.0, "b": 0.1999, "c": 0.2, "d": 0.4, "e": 0.99}
    assert assign(places, BOUNDS, {}) == {"a": 0, "b": 0, "c": 1, "d": 2, "e": 2}


def test_a_part_that_nobody_falls_into_borrows_the_nearest() -> None:
    assert assign({"a": 0.3, "b": 0.35, "c": 0.5, "d": 0.9}, BOUNDS, {}) == {"a": 0, "b": 1, "c": 2, "d": 2}
    assert assign({"a": 0.7, "b": 0.8, "c": 0.9}, BOUNDS, {}) == {"a": 0, "b": 1, "c": 2}


def test_the_nearest_is_borrowed_also_from_a_part_of_one_which_then_borrows_in_turn() -> None:
    assert assign({"a": 0.01, "b": 0.02, "c": 0.05, "d": 0.5}, BOUNDS, {}) == {"a": 0, "b": 0, "c": 2, "d": 1}


def test_a_stratum_is_served_by_its_own_and_one_too_small_is_left_alone() -> None:
    places = {"a": 0.1, "b": 0.3, "c": 0.7, "x": 0.5, "y": 0.6, "z": 0.9, "s": 0.5, "t": 0.6}
    strata = {name: {"x": "rare", "y": "rare", "z": "rare", "s": "two", "t": "two"}.get(name, "") for name in places}
    assert assign(places, BOUNDS, strata) == {
        **dict.fromkeys("ax", 0),
        **dict.fromkeys("by", 1),
        **dict.fromkeys("czst", 2),
    }


def test_where_every_stratum_is_too_small_all_patients_are_one() -> None:
    places = {"a": 0.5, "b": 0.6, "c": 0.7}
    assert assign(places, BOUNDS, {"a": "1", "b": "2", "c": "3"}) == {"a": 0, "b": 1, "c": 2}
    assert assign({"a": 0.5, "b": 0.6}, BOUNDS, {}) == {"a": 2, "b": 2}


names = st.text("abc", min_size=1, max_size=4)
units = st.floats(0, 1, exclude_max=True)


@settings(max_examples=300, deadline=None)
@given(
    before=st.dictionaries(names, units, min_size=10, max_size=14),
    new=st.dictionaries(names, units, max_size=4),
    sizes=st.lists(st.floats(0.01, 1), min_size=2, max_size=5),
    seats=st.integers(1, 2),
)
def test_newcomers_move_nobody_who_was_not_borrowed(
    before: dict[str, float], new: dict[str, float], sizes: list[float], seats: int
) -> None:
    bounds = [0.0, *(edge / sum(sizes) for edge in accumulate(sizes[:-1])), 1.0]
    parts = range(len(sizes))
    old, now = assign(before, bounds, {}, seats), assign({**new, **before}, bounds, {}, seats)
    for assigned in (old, now):
        assert all(list(assigned.values()).count(part) >= seats for part in parts)
    for name, at in before.items():
        (home,) = (part for part in parts if bounds[part] <= at < bounds[part + 1])
        assert now[name] == old[name] or old[name] != home
