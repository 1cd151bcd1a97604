"""Outliers are said with case and numbers, by a measure that they cannot move themselves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medexp.data.checks.facts import CaseFacts
from medexp.data.checks.outliers import THRESHOLD, outliers, robust_z


def case(
    spacing: tuple[float, ...] = (1.0, 1.0, 1.0),
    shape: tuple[int, ...] = (64, 64, 32),
    mean: float = 100.0,
    std: float = 20.0,
) -> CaseFacts:
    return CaseFacts(shape, spacing, intensity=((mean - 3 * std, mean + 3 * std, mean, std),))


def alike(count: int = 12) -> dict[str, CaseFacts]:
    rng = np.random.default_rng(0)
    return {
        f"case{i}": case(mean=100 + rng.normal(), std=20 + rng.normal(), shape=(60 + i % 5, 64, 32))
        for i in range(count)
    }


def test_cases_that_are_alike_are_no_outliers() -> None:
    assert outliers(alike()) == []
    assert outliers({f"case{i}": case() for i in range(20)}) == []  # no scatter at all


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        (case(spacing=(1.0, 1.0, 5.0)), "case odd: spacing of axis 2 5 mm (median 1, 32 deviations)"),
        (case(spacing=(0.2, 1.0, 1.0)), "case odd: spacing of axis 0 0.2 mm (median 1, 32 deviations)"),
        (case(shape=(62, 64, 320)), "case odd: size of axis 2 320 voxels (median 32, 46 deviations)"),
        (case(mean=5000), "case odd: mean intensity 5000 (median 99.46, "),
        (case(mean=-900), "case odd: mean intensity -900 (median 99.46, "),
        (case(std=2000), "case odd: standard deviation of intensity 2000 (median 20."),
    ],
)
def test_an_outlier_is_named_with_its_number_and_the_median(odd: CaseFacts, said: str) -> None:
    (found,) = outliers({**alike(), "odd": odd})
    assert found.startswith(said)


def test_all_traits_of_a_case_stand_in_one_line_and_channels_are_told_apart() -> None:
    first, second = (0.0, 9.0, 4.0, 2.0), (0.0, 9.0, 400.0, 2.0)
    facts = {f"case{i}": CaseFacts((8, 8), (1.0, 1.0), intensity=(first, first)) for i in range(12)}
    facts["odd"] = CaseFacts((8, 8), (3.0, 1.0), intensity=(first, second))
    (line,) = outliers(facts)
    assert line.startswith(
        "case odd: spacing of axis 0 3 mm (median 1, 22 deviations), mean intensity of channel 1 400 "
    )


def test_too_few_cases_have_no_outliers() -> None:
    assert outliers({**alike(8), "odd": case(mean=5000)}) == []
    assert len(outliers({**alike(9), "odd": case(mean=5000)})) == 1


def test_constant_unreadable_and_partly_missing_cases_are_passed_over() -> None:
    flat = CaseFacts((64, 64, 32), (1.0, 1.0, 1.0), intensity=((7.0, 7.0, 7.0, 0.0),))
    lacking = CaseFacts((64, 64, 32), (1.0, 1.0, 1.0), intensity=(None,))
    assert outliers({**alike(), "flat": flat, "lacking": lacking, "broken": CaseFacts(errors=["it is"])}) == []


def test_two_groups_of_many_cases_are_no_outliers_of_one_another() -> None:
    sites = {f"a{i}": case(spacing=(1.0, 1.0, 3.0)) for i in range(10)} | {f"b{i}": case() for i in range(10)}
    assert outliers(sites) == []


@given(
    st.lists(st.floats(-1e3, 1e3), min_size=11, max_size=40),
    st.integers(1, 5),
    st.floats(1e6, 1e9),
    st.floats(0.01, 1.0),
)
def test_a_minority_of_any_size_is_found_and_hides_nobody(
    values: list[float], odd: int, far: float, floor: float
) -> None:
    scores = robust_z(np.asarray(values + [far] * odd), floor)
    assert (scores[-odd:] > THRESHOLD).all()


@given(st.lists(st.floats(-1e3, 1e3), min_size=3, max_size=40), st.floats(-1e3, 1e3), st.floats(0.01, 1.0))
def test_moving_all_values_moves_no_score(values: list[float], shift: float, floor: float) -> None:
    moved = robust_z(np.asarray(values) + shift, floor)
    np.testing.assert_allclose(moved, robust_z(np.asarray(values), floor), atol=1e-6)
