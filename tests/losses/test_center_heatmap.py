"""The loss of heat maps: nothing is lost on perfect scores, and every part of it says what is wrong."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from medexp.errors import UserError
from medexp.losses.center_heatmap import CenterHeatmap, near_centres

TARGET = torch.tensor([[[2.0, 3, 8, 7, 1], [6, 8, 10, 12, 0]], [[5.0, 5, 7, 7, 1], [-1, -1, -1, -1, -1]]])


def perfect(target: Tensor, shape: tuple[int, ...], classes: int, spread: float = 0.1) -> Tensor:
    """Scores that say all of a target, with chances as high as the Gaussians."""
    axes = len(shape)
    scores = torch.zeros(len(target), classes + 2 * axes, *shape)
    scores[:, :classes] = -20
    near = near_centres(target, torch.Size(shape), spread)
    assert near is not None
    for case, objects in enumerate(target):
        for index, row in enumerate(objects):
            if row[-1] >= 0:
                centre = (row[:axes] + row[axes:-1]) / 2
                place = tuple(centre.floor().long().tolist())
                scores[(case, int(row[-1]), *place)] = 20
                for flat, height in zip(near.flat[case, index], near.height[case, index], strict=True):
                    at = tuple(int(i) for i in torch.unravel_index(flat, shape))
                    if height > 0.3:
                        scores[(case, slice(classes, classes + axes), *at)] = (row[axes:-1] - row[:axes]).log()
                        scores[(case, slice(classes + axes, None), *at)] = centre - torch.tensor(at) - 0.5
    return scores


def test_perfect_scores_lose_nothing() -> None:
    assert CenterHeatmap()(perfect(TARGET, (12, 16), 2), TARGET).item() == pytest.approx(0, abs=1e-5)
    volume = torch.tensor([[[1.0, 2, 3, 5, 6, 9, 0]]])
    assert CenterHeatmap()(perfect(volume, (8, 9, 12), 1), volume).item() == pytest.approx(0, abs=1e-5)


def test_an_error_in_size_or_offset_costs_its_share_of_the_size() -> None:
    scores = perfect(TARGET, (12, 16), 2)
    scores[:, 2:4] += math.log(2)
    assert CenterHeatmap()(scores, TARGET).item() == pytest.approx(math.log(2), rel=1e-4)
    assert CenterHeatmap(size_weight=0.5)(scores, TARGET).item() == pytest.approx(math.log(2) / 2, rel=1e-4)
    one = torch.tensor([[[2.0, 2, 6, 10, 0]]])
    scores = perfect(one, (12, 16), 1)
    scores[:, 3:5] += 1  # a voxel, of sides of 4 and 8
    assert CenterHeatmap()(scores, one).item() == pytest.approx((1 / 4 + 1 / 8) / 2, rel=1e-4)


def test_the_focal_loss_is_that_of_the_paper() -> None:
    """Zhou et al. 2019, equation 1, by hand: one object, everything else at a chance of a half."""
    target = torch.tensor([[[2.0, 2, 5, 5, 0]]])  # centre 3.5: the middle of voxel 3; width 0.5 voxels
    scores = torch.zeros(1, 5, 7, 7)
    heat = torch.exp(
        -0.5 * (((torch.arange(7.0)[:, None] - 3) / 0.5) ** 2 + ((torch.arange(7.0)[None] - 3) / 0.5) ** 2)
    )
    heat[(heat < math.exp(-18)) | (heat == 0)] = 0
    wanted = 0.25 * math.log(2) + (((1 - heat) ** 4).sum().item()) * 0.25 * math.log(2)
    found = CenterHeatmap(size_weight=0, offset_weight=0)(scores, target).item()
    assert found == pytest.approx(wanted, rel=1e-3)


def test_overlapping_objects_both_have_their_peak() -> None:
    target = torch.tensor([[[0.0, 0, 10, 10, 0], [4, 4, 8, 8, 0], [20, 20, 30, 30, 0]]])  # the last lies outside
    loss = CenterHeatmap(size_weight=0, offset_weight=0)
    scores = torch.full((1, 5, 12, 12), -20.0)
    none = loss(scores, target).item()
    scores[0, 0, 5, 5] = scores[0, 0, 6, 6] = 20
    assert none > 10
    assert loss(scores, target).item() < 1e-3


@pytest.mark.parametrize("target", [torch.zeros(2, 0, 5), torch.full((2, 3, 5), -1.0)])
def test_without_objects_every_peak_is_wrong(target: Tensor) -> None:
    quiet, loud = torch.full((2, 6, 8, 8), -20.0), torch.zeros(2, 6, 8, 8)
    assert CenterHeatmap()(quiet, target).item() == pytest.approx(0, abs=1e-6)
    assert CenterHeatmap()(loud, target).item() == pytest.approx(2 * 2 * 64 * 0.25 * math.log(2), rel=1e-4)


def test_it_can_be_learnt_from() -> None:
    scores = torch.zeros(2, 6, 12, 16, requires_grad=True)
    CenterHeatmap()(scores, TARGET).backward()
    assert scores.grad is not None
    assert torch.isfinite(scores.grad).all()
    assert all(scores.grad[:, channel].abs().sum() > 0 for channel in range(6))


@pytest.mark.parametrize("key", ["alpha", "beta", "size_weight", "offset_weight", "spread"])
def test_a_value_that_means_nothing_is_named(key: str) -> None:
    with pytest.raises(UserError, match=rf"loss\.{key}: -1\.0 is"):
        CenterHeatmap(**{key: -1.0})
