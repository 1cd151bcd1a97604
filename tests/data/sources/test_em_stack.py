"""One stack of sections: pages as cases, in blocks that no split takes apart."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from layouts.em_stack import write_em_stack

from medexp.data.images import read_image, read_label
from medexp.data.records import Record
from medexp.data.sources import em_stack
from medexp.data.splits.make import make_split
from medexp.errors import Faults, UserError


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_em_stack(tmp_path_factory.mktemp("em") / "isbi 2012")


def test_pages_are_cases_of_their_own(stack: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="medexp"):
        found = em_stack.records(stack)
    assert f"{stack / 'test-volume.tif'} has no label maps and is left out" in caplog.text
    assert [record.case_id for record in found[:2]] == ["train-volume_000", "train-volume_001"]
    assert len(found) == 30
    labels = tifffile.imread(stack / "train-labels.tif")
    for page in (0, 17, 29):
        image = read_image(found[page], spatial_dims=2, channels=1).array
        assert (image.shape, image[0, 0, 0]) == ((1, 48, 48), page)
        np.testing.assert_array_equal(read_label(found[page], spatial_dims=2).array, labels[page])


@given(seed=st.integers(0, 10**6), block=st.integers(1, 10))
def test_no_block_falls_into_two_parts(stack: Path, seed: int, block: int) -> None:
    found = em_stack.records(stack, block=block)
    split = make_split(found, seed=seed)
    part = {case: name for name, ids in split.items() for case in ids}
    assert len(part) == 30
    parts = [part[record.case_id] for record in found]
    for start in range(0, 30, block):
        assert len(set(parts[start : start + block])) == 1


def test_whole_stack_is_a_volume(stack: Path) -> None:
    (record,) = em_stack.records(stack, pages="whole")
    assert record == Record("train-volume", (stack / "train-volume.tif",), stack / "train-labels.tif")
    image = read_image(record, spatial_dims=3, channels=1).array
    assert image.shape == (1, 48, 48, 30)
    np.testing.assert_array_equal(image[0, 0, 0], np.arange(30))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pages": "every"}, r"dataset\.source\.pages: 'every' is not one of each, whole"),
        ({"block": 0}, r"dataset\.source\.block: 0 is less than 1"),
        ({"block": 11}, r"dataset\.source\.block: 11 pages make 3 blocks of the 30 .* give a smaller number"),
        ({"labels": "train-volume.tiff"}, "1 stacks of .* cannot be used"),
        ({"volume": "/etc/passwd"}, r"dataset\.source\.volume: '/etc/passwd' does not lie below"),
    ],
)
def test_options_that_cannot_be_are_named(stack: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        em_stack.records(stack, **options)


def test_stacks_that_are_missing_broken_or_of_other_lengths_are_named(tmp_path: Path) -> None:
    root = write_em_stack(tmp_path, pages=15)
    tifffile.imwrite(root / "train-labels.tif", np.zeros((14, 48, 48), np.uint8), photometric="minisblack")
    with pytest.raises(UserError, match=r"train-labels\.tif: 14 pages for 15 in train-volume\.tif"):
        em_stack.records(root)
    (root / "train-labels.tif").unlink()
    (root / "train-volume.tif").write_bytes(b"no tiff")
    with pytest.raises(Faults, match=r"dataset\.root: 2 stacks of .* cannot be used") as caught:
        em_stack.records(root)
    first, second = caught.value.problems
    assert first.startswith(f"{root / 'train-volume.tif'}: cannot be read as TIFF")
    assert second == f"{root / 'train-labels.tif'}: no such file"
