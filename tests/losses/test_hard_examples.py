"""The hardest examples of a batch alone."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from medexp.errors import UserError
from medexp.losses.binary_cross_entropy import BinaryCrossEntropy
from medexp.losses.cross_entropy import CrossEntropy
from medexp.losses.focal import Focal
from medexp.losses.hard_examples import HardExamples

SCORES = torch.tensor([[4.0], [-4.0], [0.0], [1.0]])  # of four yes-or-no images
TRUTH = torch.tensor([[1.0], [0.0], [1.0], [0.0]])


def test_the_largest_losses_alone_count_and_teach() -> None:
    scores = SCORES.clone().requires_grad_()
    loss = HardExamples(keep=0.5)(scores, TRUTH)
    assert loss.item() == pytest.approx((math.log(2) + math.log(1 + math.e)) / 2)
    loss.backward()
    assert scores.grad is not None
    assert (scores.grad != 0).flatten().tolist() == [False, False, True, True]


@given(keep=st.floats(0.01, 1.0), seed=st.integers(0, 1000))
def test_it_lies_between_the_mean_and_the_largest_loss(keep: float, seed: int) -> None:
    draws = torch.Generator().manual_seed(seed)
    scores, target = torch.randn(8, 3, 4, 4, generator=draws), torch.randint(0, 3, (8, 1, 4, 4), generator=draws)
    each = F.cross_entropy(scores, target.squeeze(1), reduction="none")
    found = HardExamples(keep)(scores, target).item()
    assert each.mean().item() - 1e-5 <= found <= each.max().item() + 1e-5
    count = max(1, round(keep * each.numel()))
    assert found == pytest.approx(each.flatten().sort(descending=True).values[:count].mean().item(), rel=1e-5)


def test_all_of_them_are_cross_entropy() -> None:
    scores, target = torch.randn(5, 3), torch.tensor([[0], [1], [2], [2], [1]])
    assert HardExamples(1.0)(scores, target).item() == pytest.approx(CrossEntropy()(scores, target).item())
    assert HardExamples(1.0)(SCORES, TRUTH).item() == pytest.approx(BinaryCrossEntropy()(SCORES, TRUTH).item())
    assert HardExamples(0.01)(SCORES, TRUTH.long()).item() == pytest.approx(math.log(1 + math.e))  # at least one


def test_smoothed_labels_move_towards_one_half_in_every_loss() -> None:
    wanted = 0.9 * math.log(1 + math.exp(-4)) + 0.1 * math.log(1 + math.exp(4))  # of a yes at 4, of which 0.1 is no
    for loss in (
        BinaryCrossEntropy(label_smoothing=0.2),
        HardExamples(1.0, 0.2),
        Focal(gamma=0.0, label_smoothing=0.2),
    ):
        assert loss(SCORES[:1], TRUTH[:1]).item() == pytest.approx(wanted)
    scores, target = torch.tensor([[2.0, 0.0, 0.0]]), torch.tensor([[0]])
    smooth = CrossEntropy(label_smoothing=0.3)(scores, target).item()
    assert HardExamples(1.0, 0.3)(scores, target).item() == pytest.approx(smooth)
    assert 3 * Focal(gamma=0.0, label_smoothing=0.3)(scores, target).item() == pytest.approx(smooth)


@pytest.mark.parametrize("make", [BinaryCrossEntropy, CrossEntropy, Focal, HardExamples])
def test_shares_that_are_none_are_refused(make: type) -> None:
    with pytest.raises(UserError, match=r"loss\.label_smoothing: 1 is not from 0 to below 1"):
        make(label_smoothing=1)
    with pytest.raises(UserError, match=r"loss\.keep: 0 is not above 0"):
        HardExamples(0)
