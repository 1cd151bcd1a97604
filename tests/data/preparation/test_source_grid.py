"""What is said of the prepared grid comes back to the grid of the file, however it was turned, cut and resampled."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise, permutations, product

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medexp.data.formats.scan import Array
from medexp.data.preparation import source_grid
from medexp.data.preparation.source_grid import Box, Grid, Way, nonzero_box

ORIENTATIONS = ["".join(codes) for axes in permutations(("LR", "PA", "IS")) for codes in product(*axes)]


def turned_affine(codes: str, spacing: tuple[float, ...], degrees: float) -> Array:
    """Of a file stored as `codes`, the patient turned a little in the scanner."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    tilt = np.eye(4)
    tilt[:3, :3] = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]) @ [[1, 0, 0], [0, cos, -sin], [0, sin, cos]]
    stored = nib.orientations.inv_ornt_aff(nib.orientations.axcodes2ornt(tuple(codes)), (1, 1, 1))
    affine = tilt @ stored @ np.diag([*spacing, 1.0])
    affine[:3, 3] = (7.0, -20.0, 30.0)
    return affine


@st.composite
def ways(draw: st.DrawFn, resampled: bool) -> Way:
    shape = tuple(draw(st.integers(3, 9)) for _ in range(3))
    spacing = tuple(draw(st.sampled_from([0.7, 1.0, 1.5, 3.0])) for _ in range(3))
    affine = turned_affine(draw(st.sampled_from(ORIENTATIONS)), spacing, draw(st.sampled_from([0.0, 10.0, 25.0])))
    wanted = draw(st.sampled_from([None, "RAS", "LPS", "PIR", "SAR"]))
    way = Way(Grid(shape, affine, spacing), wanted)
    turned = way.view(np.zeros((1, *shape))).shape[1:]
    start = tuple(draw(st.integers(0, size - 1)) for size in turned)
    stop = tuple(draw(st.integers(low + 1, size)) for low, size in zip(start, turned, strict=True))
    box: Box | None = draw(st.sampled_from([None, (start, stop)]))
    if not resampled:
        return Way(way.source, wanted, box)
    spaced = draw(st.sampled_from([None, (1.0, 1.0, 1.0), (0.6, 2.0, 1.5)]))
    size = draw(st.sampled_from([None, (4, 8, 6)]))
    return Way(way.source, wanted, box, spaced, size)


def one_hot(label: Array, classes: int) -> torch.Tensor:
    return torch.stack([torch.from_numpy(label == index) for index in range(classes)]).float()


@given(ways(resampled=False), st.integers(0, 2**32 - 1))
@settings(max_examples=150, deadline=None)
def test_what_was_only_turned_and_cut_comes_back_exactly_with_background_around(way: Way, seed: int) -> None:
    label = np.random.default_rng(seed).integers(0, 4, way.source.shape)
    there = way.label(label[None])[0]
    back = way.back(one_hot(there, 4))
    assert back.dtype == np.uint8
    inside = np.zeros(way.source.shape, bool)
    way.view(inside[None])[...] = True
    np.testing.assert_array_equal(back, np.where(inside, label, 0))


@given(ways(resampled=True), st.integers(0, 2**32 - 1))
@settings(max_examples=150, deadline=None)
def test_the_shape_is_always_that_of_the_file_and_the_affine_says_where_voxels_went(way: Way, seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = rng.random((1, *way.source.shape)).astype(np.float32)
    there = way.image(image)
    back = way.back(torch.from_numpy(rng.random((3, *there.shape[1:]))))
    assert back.shape == way.source.shape
    assert back.max() < 3
    # a ramp in space, once on the source grid and resampled, once drawn on the grid that the affine describes
    where = np.stack(np.meshgrid(*map(np.arange, way.source.shape), indexing="ij"), -1)
    ramp = nib.affines.apply_affine(way.source.affine, where) @ np.array([1.0, 2.0, 3.0])
    moved = way.image(ramp[None].astype(np.float32))[0]
    if way.size is None and min(moved.shape) > 2:
        grid = np.stack(np.meshgrid(*map(np.arange, moved.shape), indexing="ij"), -1)
        drawn = nib.affines.apply_affine(way.affine, grid) @ np.array([1.0, 2.0, 3.0])
        inner = tuple(
            slice(0, size - 1) for size in moved.shape
        )  # the last voxel may lie beyond the edge, which goes on
        np.testing.assert_allclose(moved[inner], drawn[inner], atol=1e-2)


def test_a_box_is_the_smallest_that_holds_what_is_not_zero_in_any_channel() -> None:
    values = np.zeros((2, 5, 6, 7), np.float32)
    values[0, 1, 2, 3] = 1
    values[1, 3, 4, 6] = -1
    assert nonzero_box(values) == ((1, 2, 3), (4, 5, 7))
    assert nonzero_box(np.zeros((1, 4, 5), np.float32)) == ((0, 0), (4, 5))
    assert nonzero_box(np.ones((1, 4, 5), np.float32)) == ((0, 0), (4, 5))


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 0.3))
def test_a_box_is_that_of_the_places_that_are_not_zero(seed: int, share: float) -> None:
    values = (np.random.default_rng(seed).random((1, 6, 7, 8)) < share).astype(np.float32)
    if values.any():
        places = np.argwhere(values[0])
        assert nonzero_box(values) == (tuple(places.min(axis=0)), tuple(places.max(axis=0) + 1))


@pytest.fixture
def finer() -> Way:
    return Way(Grid((20, 18, 16), np.diag([1.5, 1.0, 2.0, 1.0]), (1.5, 1.0, 2.0)), "LPS", None, (1.0, 1.2, 1.0))


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("slab", [1, 700, 2**19])
def test_slabs_and_threads_change_nothing(monkeypatch: pytest.MonkeyPatch, finer: Way, slab: int, threads: int) -> None:
    rng = np.random.default_rng(0)
    shape = finer.image(np.zeros((1, *finer.source.shape), np.float32)).shape[1:]
    smooth = [rng.random() + np.sin(np.arange(n) * rng.random()) for n in shape for _ in range(5)]
    logits = np.stack([np.add.outer(np.add.outer(smooth[i], smooth[5 + i]), smooth[10 + i]) for i in range(5)])
    probabilities = torch.softmax(torch.from_numpy(logits).float(), dim=0)
    axes = [axis.back() for axis in finer._axes]
    wanted = np.zeros(finer.source.shape, np.uint8)
    whole = [source_grid.resample_linear(plane[None].numpy(), axes)[0] for plane in probabilities]
    finer.view(wanted[None])[0][...] = np.argmax(whole, axis=0)
    monkeypatch.setattr(source_grid, "SLAB", slab)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    np.testing.assert_array_equal(finer.back(probabilities), wanted)
    assert len(np.unique(wanted)) > 2


@given(ways(resampled=True), st.integers(0, 2**32 - 1), st.lists(st.integers(1, 9), min_size=1))
@settings(max_examples=100, deadline=None)
def test_parts_of_any_thickness_come_back_as_the_whole(way: Way, seed: int, steps: list[int]) -> None:
    rng = np.random.default_rng(seed)
    shape = way.image(np.zeros((1, *way.source.shape), np.float32)).shape[1:]
    probabilities = torch.from_numpy(rng.random((3, *shape), dtype=np.float32))
    ends = [0, *(end for end in np.cumsum(steps) if end < shape[0]), shape[0]]
    parts = ((first, probabilities[:, first:end]) for first, end in pairwise(ends))
    np.testing.assert_array_equal(way.back(parts), way.back(probabilities))


@pytest.mark.parametrize("ends", [[0, 3], [1, 8], [0, 5, 5, 9], [0, 3, 2, 8]])
def test_parts_that_are_not_the_grid_are_refused(ends: list[int]) -> None:
    way = Way(Grid((8, 4, 4), np.eye(4), (1.0,) * 3))
    pairs = zip(ends[::2], ends[1::2], strict=True)
    with pytest.raises(ValueError, match=r"do not lie on the prepared grid \(8, 4, 4\)"):
        way.back((first, torch.rand(2, end - first if end > first else 8, 4, 4)) for first, end in pairs)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_probabilities_of_any_precision_are_taken_and_left_as_they_are(finer: Way, kind: torch.dtype) -> None:
    label = np.random.default_rng(0).integers(0, 3, finer.source.shape)
    straight = Way(finer.source, "LPS")
    probabilities = one_hot(straight.label(label[None])[0], 3).to(kind)
    before = probabilities.clone()
    np.testing.assert_array_equal(straight.back(probabilities), label)
    assert torch.equal(probabilities, before)


def test_the_first_of_equally_probable_classes_wins(finer: Way) -> None:
    shape = finer.image(np.zeros((1, *finer.source.shape), np.float32)).shape[1:]
    assert finer.back(torch.full((4, *shape), 0.25)).max() == 0
    assert Way(finer.source).back(torch.full((4, *finer.source.shape), 0.25)).max() == 0


def test_probabilities_on_another_grid_are_refused(finer: Way) -> None:
    with pytest.raises(ValueError, match=r"shape \(3, 4, 4, 4\) do not lie on the prepared grid \("):
        finer.back(torch.zeros(3, 4, 4, 4))


@pytest.mark.parametrize("resampled", [False, True])
def test_the_way_back_holds_one_slab_however_many_voxels_and_classes_there_are(
    monkeypatch: pytest.MonkeyPatch, resampled: bool
) -> None:
    monkeypatch.setattr(source_grid, "SLAB", 2**12)
    most = {}
    for side, classes in ((32, 3), (32, 40), (128, 3)):
        way = Way(Grid((side,) * 3, np.eye(4), (1.0,) * 3), None, None, (2.0,) * 3 if resampled else None)
        small = side // 2 if resampled else side
        probabilities = torch.rand(classes, small, small, small)
        tracemalloc.start()
        labels = way.back(probabilities)
        most[side, classes] = tracemalloc.get_traced_memory()[1] - labels.nbytes
        tracemalloc.stop()
    assert most[32, 40] < 1.2 * most[32, 3]
    assert most[128, 3] < 0.25 * 4 * 128**3  # of one class at full size
