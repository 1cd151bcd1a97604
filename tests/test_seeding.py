"""Seeds are equal in every process, and differ with what they are for."""

from __future__ import annotations

import os
import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from medexp.seeding import derive

PARTS = st.lists(st.one_of(st.integers(-(2**40), 2**40), st.text(max_size=8)), min_size=1, max_size=4)


@given(PARTS)
def test_a_seed_fits_every_generator(parts: list[int | str]) -> None:
    assert 0 <= derive(*parts) < 2**31
    assert derive(*parts) == derive(*parts)


def test_seeds_are_what_they_always_were() -> None:
    # A run that is resumed with a later version draws on: these values never change.
    assert derive(0, "order", 0) == 427456431
    assert derive(42, "augmentation", 3, 7) == 467888902


def test_another_process_derives_the_same() -> None:
    code = "from medexp.seeding import derive; print(derive(1, 'step', 2))"
    for salt in ("0", "1"):  # of Python's own hash
        environment = {**os.environ, "PYTHONHASHSEED": salt}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        assert int(done.stdout) == derive(1, "step", 2)


def test_seeds_differ_with_each_part_and_its_place() -> None:
    seeds = {
        derive(seed, use, epoch, index)
        for seed in range(5)
        for use in "ab"
        for epoch in range(20)
        for index in range(20)
    }
    assert len(seeds) == 5 * 2 * 20 * 20
    assert derive(1, 23) != derive(12, 3)
    assert derive(1, 2) != derive(2, 1)
