"""Criteria of adversarial learning against numbers, and the gradient penalty against a closed form."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from medexp.losses.adversarial import Hinge, Wasserstein, gradient_penalty

SCORES = torch.tensor([2.0, 0.5, -1.0])


@pytest.mark.parametrize(
    ("criterion", "real", "fake"),
    [(Hinge(), (0 + 0.5 + 2) / 3, (3 + 1.5 + 0) / 3), (Wasserstein(), -0.5, 0.5)],
    ids=["hinge", "wasserstein"],
)
def test_criteria_are_what_the_papers_say(criterion: nn.Module, real: float, fake: float) -> None:
    assert float(criterion(SCORES, True, True)) == pytest.approx(real)
    assert float(criterion(SCORES, False, True)) == pytest.approx(fake)
    assert float(criterion(SCORES, True, False)) == pytest.approx(-0.5)  # the generator raises the scores of its images


def test_scales_count_alike_however_many_patches_they_have() -> None:
    scales = [torch.zeros(2, 1, 4, 4), torch.ones(2, 1, 2, 2)]
    assert float(Wasserstein()(scales, True, True)) == pytest.approx(-0.5)


def test_the_gradient_penalty_of_a_plane_is_known() -> None:
    """A linear score has one gradient everywhere, its weights: (|w| - 1)^2, whatever images it is asked about."""
    weights = torch.randn(1, 3, 5, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()

    def judge(images: Tensor) -> Tensor:
        return (images * weights).flatten(1).sum(dim=1, keepdim=True)

    real, made = torch.randn(4, 3, 5, 5), torch.randn(4, 3, 5, 5)
    found = gradient_penalty(judge, real, made, torch.rand(4))
    norm = weights.detach().norm()
    assert float(found.detach()) == pytest.approx(float((norm - 1) ** 2), rel=1e-5)
    found.backward()  # and so is the gradient of the penalty: 2 (|w| - 1) w / |w|
    assert weights.grad is not None
    torch.testing.assert_close(weights.grad, 2 * (norm - 1) * weights.detach() / norm)


def test_the_gradient_is_looked_at_between_real_and_made_images() -> None:
    """Of a score of |x|^2 / 2 the gradient is x itself, the point that is looked at."""
    real, made = torch.zeros(2, 1, 4), torch.ones(2, 1, 4)
    found = gradient_penalty(lambda x: x.square().sum(dim=2) / 2, real, made, torch.tensor([0.25, 1.0]))
    assert float(found.detach()) == pytest.approx(((0.5 - 1) ** 2 + (2.0 - 1) ** 2) / 2)


def test_patches_are_averaged_and_scales_added() -> None:
    """Two patches, each of half an image's voxels, and one scale more that sees their sum."""
    image = torch.ones(3, 1, 2)

    def judge(images: Tensor) -> list[Tensor]:
        return [images * torch.tensor([3.0, 5.0]), images.sum(dim=2, keepdim=True)]

    wanted = (((1.5 + 1) ** 2 + (2.5 + 1) ** 2) ** 0.5 - 1) ** 2
    found = gradient_penalty(judge, image, image, torch.rand(3))
    assert float(found.detach()) == pytest.approx(wanted)
