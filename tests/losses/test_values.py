"""Values by hand, and what a user's mistake says."""

from __future__ import annotations

import math

import pytest
import torch

from medexp.errors import UserError
from medexp.losses.binary_cross_entropy import BinaryCrossEntropy
from medexp.losses.cross_entropy import CrossEntropy
from medexp.losses.distance import MeanAbsoluteError, MeanSquaredError, SmoothL1
from medexp.losses.focal import Focal
from medexp.losses.targets import one_hot

HALF = torch.zeros(2, 2)  # (B, K): both classes at one half
TARGET = torch.tensor([[0], [1]])


def test_cross_entropy_of_an_even_guess_is_log_of_the_classes() -> None:
    assert CrossEntropy()(torch.zeros(2, 4, 3, 3), torch.zeros(2, 1, 3, 3, dtype=torch.uint8)).item() == pytest.approx(
        math.log(4)
    )


def test_cross_entropy_weights_cases_by_their_class() -> None:
    scores = torch.tensor([[math.log(3.0), 0.0], [0.0, 0.0]])  # the right class at 3/4 and at 1/2
    loss = CrossEntropy(weight=[1.0, 3.0])(scores, TARGET)
    assert loss.item() == pytest.approx((1 * math.log(4 / 3) + 3 * math.log(2)) / 4)


def test_cross_entropy_leaves_the_ignored_index_out() -> None:
    scores = torch.tensor([[math.log(3.0), 0.0], [0.0, 0.0]])
    assert CrossEntropy(ignore_index=1)(scores, TARGET).item() == pytest.approx(math.log(4 / 3))


def test_binary_cross_entropy_weights_positives_a_class() -> None:
    target = torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    loss = BinaryCrossEntropy(pos_weight=[1.0, 5.0])(HALF, target)
    assert loss.item() == pytest.approx(math.log(2) * (1 + 5 + 1 + 1) / 4)


def test_binary_cross_entropy_weights_run_along_channels_of_images() -> None:
    target = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 2, 2)
    loss = BinaryCrossEntropy(pos_weight=[3.0, 7.0])(torch.zeros(1, 2, 2, 2), target)
    assert loss.item() == pytest.approx(math.log(2) * (3 + 1) / 2)


def test_one_channel_with_integer_targets_is_yes_or_no() -> None:
    scores, target = torch.tensor([[math.log(3.0)], [0.0]]), torch.tensor([[1], [0]])
    assert BinaryCrossEntropy()(scores, target).item() == pytest.approx((math.log(4 / 3) + math.log(2)) / 2)
    assert MeanSquaredError()(scores, target).item() == pytest.approx((0.25**2 + 0.5**2) / 2)
    assert Focal(gamma=0.0)(scores, target).item() == pytest.approx((math.log(4 / 3) + math.log(2)) / 2)


def test_focal_halves_with_each_gamma_at_one_half() -> None:
    # per voxel (1 - 1/2)^gamma log 2, mean over K = 2 classes of which one counts
    assert Focal(gamma=2.0)(HALF, TARGET).item() == pytest.approx(0.25 * math.log(2) / 2)
    # over a sigmoid both labels count
    assert Focal(gamma=2.0)(HALF, torch.eye(2)).item() == pytest.approx(0.25 * math.log(2))


def test_distances_compare_probabilities_with_classes_and_values_with_values() -> None:
    assert MeanSquaredError()(HALF, TARGET).item() == pytest.approx(0.25)
    assert MeanAbsoluteError()(HALF, TARGET).item() == pytest.approx(0.5)
    assert SmoothL1(beta=1.0)(HALF, TARGET).item() == pytest.approx(0.125)
    values, target = torch.tensor([[3.0]]), torch.tensor([[1.0]])
    assert MeanSquaredError()(values, target).item() == 4.0
    assert MeanAbsoluteError()(values, target).item() == 2.0
    assert SmoothL1(beta=1.0)(values, target).item() == 1.5


def test_one_hot_puts_classes_on_the_channel_axis() -> None:
    target = torch.tensor([[[0, 2]]], dtype=torch.uint8)  # (1, 1, 2)
    assert one_hot(target, 3).tolist() == [[[1, 0], [0, 0], [0, 1]]]


@pytest.mark.parametrize(("make", "key"), [(CrossEntropy, "weight"), (BinaryCrossEntropy, "pos_weight")])
def test_weights_that_are_no_numbers_are_named(make: type, key: str) -> None:
    with pytest.raises(
        UserError, match=f"loss.{key}: 'balanced' is not a list of one number a class; allowed: a list, auto, null"
    ):
        make(**{key: "balanced"})


def test_wrong_number_of_weights_is_named() -> None:
    with pytest.raises(UserError, match=r"loss.weight: 3 weights for 2 classes"):
        CrossEntropy(weight=[1.0, 1.0, 1.0])(HALF, TARGET)
