"""Boxes move as what is drawn in them moves."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from medexp.boxes import affine, around, extents, flipped, inside, middles, still_there, turned


def drawn(boxes: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A mask of each box of whole edges: (N, *shape)."""
    masks = torch.zeros(len(boxes), *shape)
    for mask, box in zip(masks, boxes.int().tolist(), strict=True):
        mask[tuple(slice(a, b) for a, b in zip(box[: len(shape)], box[len(shape) :], strict=True))] = 1
    return masks


def edges(masks: Tensor) -> Tensor:
    """The boxes around masks (N, *shape)."""
    rows = []
    for mask in masks:
        places = torch.nonzero(mask)
        rows.append([*places.min(dim=0).values.tolist(), *(places.max(dim=0).values + 1).tolist()])
    return torch.tensor(rows).float()


def some(rng: np.random.Generator, shape: tuple[int, ...], count: int = 4) -> Tensor:
    lower = np.array([rng.integers(0, size - 1, count) for size in shape]).T
    upper = (
        lower
        + 1
        + np.array(
            [rng.integers(0, size - low) for size, low in zip(shape * count, lower.ravel(), strict=True)]
        ).reshape(count, -1)
    )
    return torch.from_numpy(np.concatenate([lower, np.minimum(upper, shape)], axis=1)).float()


@given(seed=st.integers(0, 10**6), axis=st.integers(0, 2))
def test_a_flip_and_a_turn_are_exact(seed: int, axis: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (7, 9, 9)
    boxes = some(rng, shape)
    masks = drawn(boxes, shape)
    torch.testing.assert_close(flipped(boxes, shape, axis), edges(masks.flip(axis + 1)))
    times = int(rng.integers(0, 4))
    torch.testing.assert_close(turned(boxes, shape, times, (1, 2)), edges(torch.rot90(masks, times, (2, 3))))


def test_the_box_of_a_ball_stays_the_same_whatever_the_angle() -> None:
    angle = torch.tensor(0.5)
    turn = torch.tensor([[angle.cos(), -angle.sin()], [angle.sin(), angle.cos()]])
    moved = affine(torch.tensor([[2.0, 4.0, 6.0, 8.0]]), turn, torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(extents(moved), torch.tensor([[4.0, 4.0]]))
    torch.testing.assert_close(middles(moved)[0], turn @ torch.tensor([4.0, 6.0]) + torch.tensor([1.0, 0.0]))


def test_centres_and_sizes_make_the_boxes_again() -> None:
    boxes = torch.tensor([[1.0, 2.0, 3.0, 2.0, 5.0, 9.0]])
    torch.testing.assert_close(around(middles(boxes), extents(boxes)), boxes)


def test_a_box_belongs_to_the_image_that_holds_its_centre() -> None:
    boxes = torch.tensor([[-2.0, 0, 2, 4], [-3, 0, 2, 4], [6, 6, 10, 9], [5, 5, 9, 9]])
    assert inside(boxes, (8, 8)).tolist() == [True, False, False, True]
    item = {"image": torch.zeros(1, 8, 8), "boxes": boxes, "box_classes": torch.tensor([0.0, 0, 0, -1])}
    kept = still_there(item)
    assert kept["boxes"].tolist() == [[-2, 0, 2, 4]]
    assert kept["box_classes"].tolist() == [0]
    assert still_there({"image": 1}) == {"image": 1}
