"""`resize=False`: images of one size whose voxels stay as large as they were."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medexp.data.formats.scan import Scan
from medexp.data.preparation.prepare import Preparation

SIZES = st.tuples(*[st.integers(2, 12)] * 3)


def prepared(image: Any, size: tuple[int, ...], label: Any = None, **options: Any) -> Any:
    preparation = Preparation(3, 1, image_size=size, resize=False, **options)
    affine = np.diag([2.0, 1.0, 1.0, 1.0])
    scans = [None if array is None else Scan(array, affine, (2.0, 1.0, 1.0)) for array in (image, label)]
    assert scans[0] is not None
    return preparation, preparation.prepare(scans[0], scans[1])


@given(SIZES, SIZES)
@settings(max_examples=60, deadline=None)
def test_voxels_are_those_of_the_image_around_one_middle(shape: tuple[int, ...], size: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32)
    _, made = prepared(image, size)
    assert made.image.shape == (1, *size)
    for axis, (have, want) in enumerate(zip(shape, size, strict=True), start=1):
        places = np.clip(np.arange(want) + (have - want) // 2, 0, have - 1)  # beyond the ends the edge goes on
        image = np.take(image, places, axis)
    np.testing.assert_array_equal(made.image.numpy(), image)


@given(SIZES, SIZES, st.sampled_from([None, "RAS", "PIR"]))
@settings(max_examples=60, deadline=None)
def test_a_label_map_comes_back_with_background_where_it_was_cut(
    shape: tuple[int, ...], size: tuple[int, ...], orientation: str | None
) -> None:
    label = np.random.default_rng(1).integers(1, 4, shape).astype(np.uint8)  # no background at all
    preparation, made = prepared(np.zeros((1, *shape), np.float32), size, label, orientation=orientation)
    assert made.label is not None
    scores = torch.stack([(made.label[0] == index).float() for index in range(4)])
    back = preparation.labels_on_source(scores, made)
    assert back.shape == shape
    assert ((back == label) | (back == 0)).all()
    turned = {"PIR": (1, 2, 0)}.get(orientation or "", (0, 1, 2))  # axes of the file along those of the prepared grid
    kept = np.prod([min(shape[axis], want) for axis, want in zip(turned, size, strict=True)])
    assert int((back > 0).sum()) == kept


def test_volumes_survive_where_resizing_hides_them() -> None:
    image = np.zeros((1, 10, 10, 10), np.float32)
    image[0, 4:6, 4:6, 4:6] = 1
    large = np.zeros((1, 20, 20, 20), np.float32)
    large[0, 8:12, 8:12, 8:12] = 1  # twice as large in each direction
    size = (16, 16, 16)
    assert [float(prepared(one, size)[1].image.sum()) for one in (image, large)] == [8, 64]
    resized = [Preparation(3, 1, image_size=size).prepare(Scan(one, np.eye(4), (1.0,) * 3)) for one in (image, large)]
    one, other = (float(made.image.sum()) for made in resized)
    assert one == pytest.approx(other, rel=0.2)


def test_spacing_comes_before_the_size() -> None:
    image = np.ones((1, 6, 6, 6), np.float32)
    _, made = prepared(image, (12, 6, 6), spacing=(1.0, 1.0, 1.0))
    assert made.image.shape == (1, 12, 6, 6)
    np.testing.assert_allclose(np.abs(np.linalg.det(made.affine[:3, :3])), 1.0)


def test_a_prepared_case_of_the_other_way_is_not_asked_for() -> None:
    assert (
        Preparation(3, 1, image_size=(8, 8, 8)).identity()
        != Preparation(3, 1, image_size=(8, 8, 8), resize=False).identity()
    )
