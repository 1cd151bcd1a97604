"""What is kept of a prepared case is the case: within half precision, with its place in space and its foreground."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from medexp.data.preparation.prepare import Grid, Prepared
from medexp.data.store.entries import InMemory
from medexp.data.store.pack import PLACES, foreground_places, pack, unpack


def prepared(scale: float = 1.0) -> Prepared:
    rng = np.random.default_rng(0)
    image = torch.from_numpy((rng.normal(size=(2, 8, 7, 6)) * scale).astype(np.float32))
    label = torch.from_numpy(rng.integers(0, 3, (1, 8, 7, 6), dtype=np.uint8))
    affine = np.diag([1.0, 2.0, -3.0, 1.0])
    return Prepared(image, label, affine, Grid((9, 9, 9), affine / 2, (0.5, 1.0, 1.5)))


@pytest.mark.parametrize(("scale", "kind"), [(1.0, np.float16), (1e5, np.float32), (1e-9, np.float32)])
def test_a_case_comes_back(scale: float, kind: type) -> None:
    case = prepared(scale)
    packed, facts = pack(case)
    again = unpack(InMemory(packed, json.loads(json.dumps(facts))))
    assert packed["image"].dtype == kind
    torch.testing.assert_close(again.image, case.image, rtol=1e-3, atol=1e-6 * scale)
    assert again.label is not None
    assert case.label is not None
    assert torch.equal(again.label, case.label)
    np.testing.assert_array_equal(again.affine, case.affine)
    assert again.source.shape == case.source.shape
    np.testing.assert_array_equal(again.source.affine, case.source.affine)
    assert (again.source.spacing, again.box, again.missing) == (case.source.spacing, None, ())
    assert facts["voxels"] == np.bincount(case.label.numpy().ravel()).tolist()


@given(arrays.arrays(np.uint8, (5, 4, 3), elements=st.integers(0, 3)))
def test_places_are_all_voxels_of_each_foreground_class(label: np.ndarray) -> None:
    places, ranges = foreground_places(label)
    for value in (1, 2, 3):
        start, stop = ranges.get(str(value), [0, 0])
        np.testing.assert_array_equal(places[start:stop], np.argwhere(label == value))
    assert len(places) == np.count_nonzero(label)
    assert "0" not in ranges


def test_of_a_large_class_a_sample_is_kept_always_the_same() -> None:
    label = np.zeros((60, 60, 60), np.uint8)
    label[10:50, 10:50, 10:50] = 2
    label[0, 0, 0] = 1
    places, ranges = foreground_places(label)
    assert ranges == {"1": [0, 1], "2": [1, 1 + PLACES]}
    assert (label[tuple(places[1:].T)] == 2).all()
    assert len(np.unique(places, axis=0)) == len(places)
    np.testing.assert_array_equal(places, foreground_places(label)[0])
    assert np.abs(places[1:].mean(0) - 29.5).max() < 0.5  # from everywhere


def test_without_a_label_map_there_are_no_places() -> None:
    case = prepared()
    packed, facts = pack(Prepared(case.image, None, case.affine, case.source))
    assert set(packed) == {"image"}
    assert "places" not in facts
    assert unpack(InMemory(packed, facts)).label is None


def test_a_narrow_range_far_from_zero_keeps_its_steps() -> None:
    case = prepared()
    image = 1500 + torch.arange(336).reshape(1, 8, 7, 6) / 8
    packed, facts = pack(Prepared(image, None, case.affine, case.source))
    assert torch.equal(unpack(InMemory(packed, facts)).image, image)
