"""Dice of validation batches."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.metrics import compute_dice
from monai.networks.utils import one_hot
from torch import Tensor
from torchmetrics.utilities.data import dim_zero_sum

from medexp.metrics.dice import CaseDice


def scores_of(labels: Tensor, num_classes: int) -> Tensor:
    """Logits whose arg max is labels (B, 1, *spatial)."""
    return one_hot(labels, num_classes) * 4.0 - 2.0


def metric_of(prediction: Tensor, label: Tensor, num_classes: int, **options: bool) -> CaseDice:
    metric = CaseDice(num_classes, **options)
    metric.update(scores_of(prediction, num_classes), label)
    return metric


def test_hand_value_of_one_case() -> None:
    label = torch.tensor([0, 1, 1, 2]).view(1, 1, 2, 2)
    prediction = torch.tensor([0, 1, 2, 2]).view(1, 1, 2, 2)
    assert metric_of(prediction, label, 3).compute() == pytest.approx(2 / 3)  # both classes: 2 * 1 / 3
    with_background = metric_of(prediction, label, 3, include_background=True)
    assert with_background.compute() == pytest.approx((1 + 2 / 3 + 2 / 3) / 3)


def test_classes_average_over_their_own_cases_and_absent_ones_are_left_out() -> None:
    label = torch.tensor([[1, 1, 0, 0], [1, 0, 2, 2]]).view(2, 1, 2, 2)
    prediction = torch.tensor([[1, 1, 0, 0], [0, 0, 2, 0]]).view(2, 1, 2, 2)
    # class 1: (1 + 0) / 2; class 2: only in the second case, 2 * 1 / 3; class 3: nowhere
    assert metric_of(prediction, label, 4).compute() == pytest.approx((0.5 + 2 / 3) / 2)


def test_invented_class_counts_as_zero() -> None:
    label = torch.zeros(1, 1, 2, 2, dtype=torch.long)
    assert metric_of(torch.ones_like(label), label, 2).compute() == 0
    assert int(metric_of(torch.ones_like(label), label, 2).cases[1]) == 1


def test_nothing_defined_gives_zero_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    label = torch.zeros(1, 1, 2, 2, dtype=torch.uint8)
    assert metric_of(label, label, 2).compute() == 0
    assert "not defined" in caplog.text


@pytest.mark.parametrize("shape", [(3, 1, 7, 9), (2, 1, 5, 6, 7)])
def test_agrees_with_monai_case_by_case(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(1)
    label = torch.randint(0, 4, shape, generator=generator)
    scores = torch.randn((shape[0], 4, *shape[2:]), generator=generator)
    metric = CaseDice(4)
    metric.update(scores, label.to(torch.uint8))
    prediction = one_hot(scores.argmax(1, keepdim=True), 4)
    monai = compute_dice(prediction, one_hot(label, 4), include_background=False)  # (B, 3)
    assert metric.compute() == pytest.approx(float(monai.mean(0).mean()), abs=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31 - 1))
def test_symmetric_and_one_for_a_perfect_prediction(seed: int) -> None:
    first, second = torch.randint(0, 3, (2, 2, 1, 4, 5), generator=torch.Generator().manual_seed(seed))
    ours, swapped = metric_of(first, second, 3).compute(), metric_of(second, first, 3).compute()
    assert float(ours) == pytest.approx(float(swapped))
    assert float(metric_of(first, first, 3, include_background=True).compute()) == pytest.approx(1)


def test_summed_states_of_ranks_give_the_value_of_one_process() -> None:
    generator = torch.Generator().manual_seed(2)
    label = torch.randint(0, 3, (4, 1, 6, 6), generator=generator)
    scores = torch.randn((4, 3, 6, 6), generator=generator)
    whole, ranks = CaseDice(3), [CaseDice(3), CaseDice(3)]
    whole.update(scores, label)
    ranks[0].update(scores[:1], label[:1])
    ranks[1].update(scores[1:], label[1:])
    assert set(whole._reductions.values()) == {dim_zero_sum}
    ranks[0].dice_sum += ranks[1].dice_sum
    ranks[0].cases += ranks[1].cases
    assert float(ranks[0].compute()) == pytest.approx(float(whole.compute()))


def test_label_beyond_the_classes_is_named() -> None:
    label = torch.full((1, 1, 2, 2), 7)
    with pytest.raises(ValueError, match="num_classes=3 allows 0 to 2"):
        CaseDice(3).update(torch.zeros(1, 3, 2, 2), label)


def test_wrong_number_of_channels_is_named() -> None:
    with pytest.raises(ValueError, match=r"\(B, 3, \*spatial\)"):
        CaseDice(3).update(torch.zeros(1, 2, 2, 2), torch.zeros(1, 1, 2, 2))
    with pytest.raises(ValueError, match="2 or more"):
        CaseDice(1)
