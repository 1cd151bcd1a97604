"""Folders of one mask an object: their union, or the names of all masks that cannot be used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from layouts.object_masks import write_mask
from PIL import Image

from medexp.data.formats.objects import read_objects
from medexp.data.formats.scan import Unreadable, Wanted

LABEL = Wanted(2, label=True)


def square(row: int, column: int, value: int = 255, size: tuple[int, int] = (20, 30)) -> np.ndarray:
    mask = np.zeros(size, np.uint8)
    mask[row : row + 4, column : column + 4] = value
    return mask


def test_masks_become_one_class_even_where_they_overlap(tmp_path: Path) -> None:
    write_mask(tmp_path / "b é.png", square(2, 3))
    write_mask(tmp_path / "a.png", square(4, 5, value=1))
    tifffile.imwrite(tmp_path / "c.tif", square(10, 20))
    Image.fromarray(square(15, 1) > 0).save(tmp_path / "d.bmp")
    (tmp_path / ".hidden.png").write_bytes(b"")
    (tmp_path / "notes.txt").write_bytes(b"")
    scan = read_objects(tmp_path, LABEL)
    wanted = square(2, 3) + square(4, 5) + square(10, 20) + square(15, 1) > 0
    assert (scan.array.dtype, scan.array.shape, scan.spacing) == (np.uint8, (1, 20, 30), (1.0, 1.0))
    np.testing.assert_array_equal(scan.array[0], wanted)


def test_folder_without_masks_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_bytes(b"")
    with pytest.raises(Unreadable, match="holds no masks"):
        read_objects(tmp_path, LABEL)


def test_all_masks_that_cannot_be_used_are_named_at_once(tmp_path: Path) -> None:
    write_mask(tmp_path / "a.png", square(1, 1))
    write_mask(tmp_path / "b.png", square(1, 1, size=(20, 31)))
    write_mask(tmp_path / "c.png", square(1, 1) * 0)
    write_mask(tmp_path / "d.png", square(1, 1, value=100) + square(3, 3, value=20))
    (tmp_path / "e.png").write_bytes(b"cut")
    with pytest.raises(Unreadable, match="4 of 5 masks cannot be used") as caught:
        read_objects(tmp_path, LABEL)
    said = str(caught.value)
    assert "\n" not in said
    for words in (
        "b.png has shape (20, 31), a.png has (20, 30)",
        "c.png marks no pixel",
        "d.png has values 20 to 120 besides 0",
        "e.png cannot be read as an image",
    ):
        assert words in said


def test_hundreds_of_bad_masks_make_one_short_line(tmp_path: Path) -> None:
    for number in range(40):
        write_mask(tmp_path / f"{number:02d}.png", square(1, 1) * 0)
    with pytest.raises(Unreadable, match=r"40 of 40 masks cannot be used: .* and 35 more$"):
        read_objects(tmp_path, LABEL)


@pytest.mark.real_data
def test_nuclei_are_the_union_of_their_masks(real_data: Callable[[str], Path]) -> None:
    cases = sorted((real_data("dsb2018_nuclei") / "stage1_train").iterdir())
    assert len(cases) == 60
    for case in cases:
        union = read_objects(case / "masks", LABEL).array[0]
        masks = [np.asarray(Image.open(path)) > 0 for path in sorted((case / "masks").iterdir())]
        np.testing.assert_array_equal(union, np.any(masks, axis=0))
        assert union.sum() == np.sum(masks)  # the nuclei of this set do not overlap
