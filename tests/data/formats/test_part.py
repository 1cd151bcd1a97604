"""Slices and windows are parts of the volume, in anatomical and in scanner terms."""

from __future__ import annotations

import numpy as np
import pytest

from medexp.data.formats.part import cut_slice, cut_window, slice_axis
from medexp.data.formats.scan import Scan, Unreadable
from medexp.data.records import Slice, Window

SHAPE = (6, 8, 10)


def scan(affine: np.ndarray | None = None) -> Scan:
    array = np.arange(np.prod(SHAPE), dtype=np.float32).reshape(1, *SHAPE)
    affine = np.diag([-2.0, 3.0, 4.0, 1.0]) if affine is None else affine
    return Scan(array, affine, (2.0, 3.0, 4.0), (0,))


def test_a_plane_is_found_whatever_the_order_of_the_axes() -> None:
    assert [slice_axis(np.eye(4), plane) for plane in ("sagittal", "coronal", "axial")] == [0, 1, 2]
    turned = np.asarray([[0, 0, 1.0, 0], [-1, 0.1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])  # PSR-like: axes are A, S, R
    assert [slice_axis(turned, plane) for plane in ("sagittal", "coronal", "axial")] == [2, 0, 1]


def test_a_slice_is_that_slice_with_the_spacing_of_its_own_axes() -> None:
    cut = cut_slice(scan(), Slice("coronal", 5))
    np.testing.assert_array_equal(cut.array, scan().array[:, :, 5])
    assert (cut.spacing, cut.missing) == ((2.0, 4.0), (0,))
    np.testing.assert_array_equal(cut.affine, np.diag([2.0, 4.0, 1.0, 1.0]))


@pytest.mark.parametrize("index", [-1, 10])
def test_a_slice_that_is_not_there_is_said(index: int) -> None:
    with pytest.raises(Unreadable, match=f"has 10 axial slices; there is no number {index}"):
        cut_slice(scan(), Slice("axial", index))


def test_a_window_is_centred_and_keeps_its_place_in_space() -> None:
    whole = scan()
    centre = (whole.affine @ [3, 4, 5, 1])[:3]
    cut = cut_window(whole, Window(tuple(centre), (6.0, 9.0, 4.0)))
    np.testing.assert_array_equal(cut.array, whole.array[:, 2:5, 3:6, 5:6])
    np.testing.assert_allclose(cut.affine @ [1, 1, 0, 1], [*centre, 1])


def test_beyond_the_volume_the_edge_is_repeated() -> None:
    whole = scan()
    cut = cut_window(whole, Window((0.0, 0.0, 0.0), (10.0, 3.0, 4.0)))
    assert cut.array.shape == (1, 5, 1, 1)
    np.testing.assert_array_equal(cut.array[0, :, 0, 0], whole.array[0, [0, 0, 0, 1, 2], 0, 0])


def test_a_place_outside_of_the_volume_is_refused() -> None:
    with pytest.raises(Unreadable, match="outside of the volume"):
        cut_window(scan(), Window((50.0, 0.0, 0.0), (4.0, 4.0, 4.0)))
