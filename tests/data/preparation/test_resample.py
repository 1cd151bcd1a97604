"""Resampling axis by axis gives what MONAI gives in all axes at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from monai.transforms import Resize, Spacing, SpatialResample

from medexp.data.formats.scan import Array
from medexp.data.preparation.resample import (
    Axis,
    Taps,
    interpolate,
    resample_linear,
    resample_nearest,
    resize_linear,
    resize_nearest,
    size_axes,
    spacing_axes,
)

SIZES = st.integers(1, 40)
# Ratios of two of these make new voxels that lie halfway between two old ones, where the nearest one is not plain.
ROUND = st.sampled_from([0.35, 0.5, 0.75, 0.8, 1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 5.0])
SPACINGS = st.one_of(ROUND, st.floats(0.3, 5.0))
NEAR = st.sampled_from([1.0, 1.0004, 1.0009, 1.002])  # about what MONAI takes for no difference


@st.composite
def grids(draw: st.DrawFn) -> tuple[list[int], list[float], list[float]]:
    """Shape, spacing and wanted spacing of two or three axes."""
    dims = draw(st.integers(2, 3))
    shape = [draw(SIZES) for _ in range(dims)]
    spacing = [draw(SPACINGS) for _ in range(dims)]
    return shape, spacing, [draw(st.one_of(SPACINGS, st.just(s), NEAR.map(lambda k, s=s: k * s))) for s in spacing]


def of_monai(values: Array, spacing: list[float], wanted: list[float], mode: str) -> MetaTensor:
    affine = torch.diag(torch.tensor([*spacing, 1.0], dtype=torch.float64))
    made = Spacing(wanted, mode=mode, padding_mode="border")(
        MetaTensor(torch.from_numpy(values).float(), affine=affine)
    )
    assert isinstance(made, MetaTensor)
    return made


@given(grids(), st.integers(0, 2**32 - 1))
@example(([9, 8, 7], [1.0, 2.0, 3.0], [0.5, 1.0, 1.5]), 0)  # every other voxel lies halfway
@example(([1, 1], [0.5, 0.35], [0.501, 0.35]), 0)
@example(([1, 1, 5], [1.0, 2.0, 3.0], [2.0, 1.0, 3.0]), 0)
@settings(max_examples=150, deadline=None)
def test_spacing_gives_the_image_and_exactly_the_label_and_the_grid_of_monai(
    grid: tuple[list[int], list[float], list[float]], seed: int
) -> None:
    shape, spacing, wanted = grid
    rng = np.random.default_rng(seed)
    image = rng.normal(size=(2, *shape)).astype(np.float32)
    label = rng.integers(0, 200, (1, *shape)).astype(np.uint8)
    axes = spacing_axes(shape, spacing, wanted)
    theirs = of_monai(image, spacing, wanted, "bilinear")
    np.testing.assert_allclose(resample_linear(image, axes), theirs.numpy(), atol=5e-6, rtol=0)
    np.testing.assert_array_equal(
        resample_nearest(label, axes), of_monai(label, spacing, wanted, "nearest").numpy().astype(np.uint8)
    )
    affine = np.diag([*spacing, 1.0]) @ np.diag([*(axis.scale for axis in axes), 1.0])
    np.testing.assert_allclose(affine, theirs.affine.numpy(), rtol=1e-9, atol=1e-12)
    assert all(axis.offset == 0 for axis in axes)


def test_intensities_of_ct_keep_their_precision() -> None:
    rng = np.random.default_rng(0)
    image = rng.normal(-500, 800, (1, 40, 36, 20)).astype(np.float32)
    ours = resample_linear(image, spacing_axes((40, 36, 20), (0.7, 0.7, 2.5), (1.0, 1.0, 1.0)))
    theirs = of_monai(image, [0.7, 0.7, 2.5], [1.0, 1.0, 1.0], "bilinear").numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(image).max() / 10, rtol=0)


@given(grids(), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_the_way_back_is_that_of_monai(grid: tuple[list[int], list[float], list[float]], seed: int) -> None:
    shape, spacing, wanted = grid
    axes = spacing_axes(shape, spacing, wanted)
    values = np.random.default_rng(seed).random((1, *(axis.new for axis in axes))).astype(np.float32)
    ours = resample_linear(values, [axis.back() for axis in axes])
    affine = torch.diag(torch.tensor([*(axis.scale for axis in axes), 1.0], dtype=torch.float64))
    back = SpatialResample(mode="bilinear", padding_mode="border", dtype=np.float64)
    tensor = MetaTensor(torch.from_numpy(values), affine=affine)
    theirs = back(tensor, dst_affine=torch.eye(len(shape) + 1, dtype=torch.float64), spatial_size=shape).numpy()
    if any(not axis.same for axis in axes) and theirs is not values and not near_one(axes):
        np.testing.assert_allclose(ours, theirs, atol=1e-5, rtol=0)
    assert ours.shape == (1, *shape)


def near_one(axes: tuple[Axis, ...]) -> bool:
    """Where MONAI resamples nothing although the grids differ a little."""
    return all(axis.old == axis.new and abs(axis.scale - 1) < 2e-3 for axis in axes)


@given(grids(), st.lists(SIZES, min_size=3, max_size=3), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_resizing_is_monais_averaging_what_shrinks_and_interpolating_what_grows(
    grid: tuple[list[int], list[float], list[float]], sizes: list[int], seed: int
) -> None:
    shape = grid[0]
    size = tuple(sizes[: len(shape)])
    rng = np.random.default_rng(seed)
    image = rng.normal(size=(2, *shape)).astype(np.float32)
    label = rng.integers(0, 200, (1, *shape)).astype(np.int16)
    shrunk = Resize(tuple(map(min, size, shape)), mode="area")(torch.from_numpy(image))
    theirs = Resize(size, mode="trilinear" if len(size) == 3 else "bilinear")(shrunk)
    np.testing.assert_array_equal(resize_linear(image, size), theirs.numpy())
    picked = Resize(size, mode="nearest-exact")(torch.from_numpy(label).float()).numpy()
    made = resize_nearest(label, size)
    np.testing.assert_array_equal(made, picked)
    assert made.dtype == np.int16


@pytest.mark.parametrize("size", [(12, 8), (4, 20), (6, 8)])
def test_axes_of_a_size_say_where_the_voxels_of_a_resized_image_lie(size: tuple[int, int]) -> None:
    ramp = np.arange(6.0, dtype=np.float32)[:, None] * 10 + np.arange(8.0, dtype=np.float32)
    made = resize_linear(ramp[None], size)[0]
    rows, columns = (axis.scale * np.arange(axis.new) + axis.offset for axis in size_axes((6, 8), size))
    inside = made[1:-1, 1:-1]
    np.testing.assert_allclose(inside, (rows[:, None] * 10 + columns)[1:-1, 1:-1], atol=2.6)  # means over odd numbers
    both = resample_linear(ramp[None], size_axes((6, 8), (12, 20)))
    np.testing.assert_allclose(both, resize_linear(ramp[None], (12, 20)), atol=1e-5)


@given(SIZES, st.integers(2, 60), st.floats(0.2, 4.0), st.floats(-3.0, 3.0))
def test_an_axis_goes_back_to_where_it_came_from(old: int, new: int, scale: float, offset: float) -> None:
    axis = Axis(old, new, scale, offset)
    there = axis.then(axis.back())
    assert (there.old, there.new) == (old, old)
    assert there.scale == pytest.approx(1)
    assert there.offset == pytest.approx(0, abs=1e-9)
    assert there.same
    positions = axis.positions()
    assert positions.dtype == np.float64
    np.testing.assert_allclose(positions, np.clip(scale * np.arange(new) + offset, 0, old - 1), atol=1e-9)


def test_axes_in_a_row_are_one_axis() -> None:
    both = Axis(20, 10, 2.0, 0.5).then(Axis(10, 5, 2.0, 0.5))
    assert (both.old, both.new, both.scale, both.offset) == (20, 5, 4.0, 1.5)


def test_a_grid_that_stays_is_handed_on_and_nothing_given_is_written_to() -> None:
    values = np.random.default_rng(0).random((2, 6, 7, 8)).astype(np.float32)
    before = values.copy()
    same = spacing_axes((6, 7, 8), (1.0, 2.0, 3.0), (1.0, 2.0005, 3.0))
    assert all(axis.same for axis in same)
    assert np.may_share_memory(resample_linear(values, same), values)
    resample_linear(values, spacing_axes((6, 7, 8), (1.0, 2.0, 3.0), (2.0, 1.0, 1.5)))
    resize_linear(values, (3, 14, 8))
    np.testing.assert_array_equal(values, before)


@pytest.mark.parametrize("shape", [(3, 50, 40, 30), (1, 30, 200, 3), (4, 64, 64), (1, 5, 700, 600)])
@pytest.mark.parametrize("factor", [0.3, 0.9, 1.7])
def test_every_axis_alone_is_a_linear_interpolation_whatever_its_length(shape: tuple[int, ...], factor: float) -> None:
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    for index, old in enumerate(shape[1:]):
        axes = [Axis(n, n) for n in shape[1:]]
        axes[index] = Axis(old, max(round(old * factor), 1), 1 / factor, 0.25)
        positions = axes[index].positions()
        lower = np.minimum(positions.astype(int), max(old - 2, 0))
        weight = (positions - lower).reshape([-1 if axis == index + 1 else 1 for axis in range(len(shape))])
        below = np.take(values, lower, axis=index + 1).astype(np.float64)
        above = np.take(values, np.minimum(lower + 1, old - 1), axis=index + 1)
        wanted = below * (1 - weight) + above * weight
        made = resample_linear(values, axes)
        assert made.dtype == np.float32
        assert made.flags.c_contiguous
        np.testing.assert_allclose(made, wanted, atol=2e-6, rtol=0)


def test_a_part_of_an_axis_is_made_of_the_old_voxels_that_it_needs() -> None:
    axis = Axis(30, 45, 2 / 3, 0.1)
    values = np.random.default_rng(0).random((1, 30, 4)).astype(np.float32)
    whole = interpolate(values, [Taps.of(axis), None])
    for start in range(0, 45, 7):
        needed, taps = Taps.of(axis).part(start, start + 7)
        np.testing.assert_array_equal(interpolate(values[:, needed], [taps, None]), whole[:, start : start + 7])


def test_the_rounding_of_a_matrix_product_on_bfloat16_hardware_is_not_met() -> None:
    values = np.random.default_rng(0).random((1, 30, 30, 30)).astype(np.float32)
    axes = spacing_axes((30, 30, 30), (1.0, 1.0, 1.0), (0.7, 0.8, 1.3))
    before = resample_linear(values, axes)
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        np.testing.assert_array_equal(resample_linear(values, axes), before)
    finally:
        torch.set_float32_matmul_precision(precision)
