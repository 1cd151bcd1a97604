"""Losses that wrong labels move less: their limits, their gradients, their conventions of targets."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medexp.errors import UserError
from medexp.losses.cross_entropy import CrossEntropy
from medexp.losses.generalized_cross_entropy import GeneralizedCrossEntropy
from medexp.losses.symmetric_cross_entropy import SymmetricCrossEntropy

SCORES = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.1, 3.0]])
TARGET = torch.tensor([[0], [1]])
P = SCORES.softmax(dim=1).gather(1, TARGET)  # of the label


@pytest.mark.parametrize("q", [0.3, 0.7, 1.0])
def test_the_generalized_loss_is_the_papers(q: float) -> None:
    torch.testing.assert_close(GeneralizedCrossEntropy(q)(SCORES, TARGET), ((1 - P**q) / q).mean())


def test_it_goes_to_cross_entropy_and_is_half_the_absolute_error_at_one() -> None:
    torch.testing.assert_close(
        GeneralizedCrossEntropy(1e-4)(SCORES, TARGET), CrossEntropy()(SCORES, TARGET), atol=1e-3, rtol=0
    )
    absolute = (SCORES.softmax(dim=1) - nn.functional.one_hot(TARGET.squeeze(1), 3)).abs().sum(dim=1).mean()
    torch.testing.assert_close(GeneralizedCrossEntropy(1.0)(SCORES, TARGET), absolute / 2)


def test_the_symmetric_loss_is_the_papers() -> None:
    hot = nn.functional.one_hot(TARGET.squeeze(1), 3).float()
    reverse = -(SCORES.softmax(dim=1) * torch.log(hot.clamp(min=torch.tensor(-4.0).exp()))).sum(dim=1).mean()
    wanted = 0.3 * CrossEntropy()(SCORES, TARGET) + 2.0 * reverse
    torch.testing.assert_close(SymmetricCrossEntropy(0.3, 2.0)(SCORES, TARGET), wanted)


@pytest.mark.parametrize("loss", [GeneralizedCrossEntropy(), SymmetricCrossEntropy()], ids=["gce", "sce"])
def test_a_label_that_cannot_be_believed_moves_less_than_cross_entropy_lets_it(loss: nn.Module) -> None:
    def pull(one: nn.Module) -> float:
        scores = torch.tensor([[8.0, 0.0, 0.0]], requires_grad=True)
        one(scores, torch.tensor([[1]])).backward()
        assert scores.grad is not None
        return float(scores.grad.abs().sum())

    assert pull(loss) < 0.2 * pull(CrossEntropy())


@pytest.mark.parametrize("loss", [GeneralizedCrossEntropy(), SymmetricCrossEntropy()], ids=["gce", "sce"])
def test_voxels_labels_and_half_precision_follow_the_house(loss: nn.Module) -> None:
    image = torch.randn(2, 3, 4, 4)
    label = torch.randint(0, 3, (2, 1, 4, 4), dtype=torch.uint8)
    flat = loss(image.movedim(1, -1).reshape(-1, 3), label.reshape(-1, 1))
    torch.testing.assert_close(loss(image, label), flat)
    one = torch.tensor([[2.0], [-1.0]])  # a yes or no is two classes whose scores differ by it
    two = torch.cat([torch.zeros(2, 1), one], dim=1)
    torch.testing.assert_close(loss(one, torch.tensor([[1.0], [1.0]])), loss(two, torch.tensor([[1], [1]])))
    assert loss(image.half(), label).dtype == torch.float32


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: GeneralizedCrossEntropy(0.0), "loss.q: 0.0"),
        (lambda: GeneralizedCrossEntropy(1.5), "loss.q: 1.5"),
        (lambda: SymmetricCrossEntropy(-1.0), "loss.alpha: -1.0"),
        (lambda: SymmetricCrossEntropy(0.0, 0.0), "both are 0"),
    ],
)
def test_values_that_make_no_loss_are_refused(make: object, said: str) -> None:
    assert callable(make)
    with pytest.raises(UserError, match=said):
        make()
