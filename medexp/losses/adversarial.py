"""What a discriminator's scores cost it, and the network that it judges, beside MONAI's PatchAdversarialLoss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn


class AdversarialCriterion(nn.Module, ABC):
    """`criterion(scores, target_is_real, for_discriminator)`, called as PatchAdversarialLoss is; scores: a tensor of any
    shape, or one a scale, of which the mean is taken."""

    def forward(self, scores: Tensor | Sequence[Tensor], target_is_real: bool, for_discriminator: bool) -> Tensor:
        several = [scores] if isinstance(scores, Tensor) else list(scores)
        parts = [
            self.of_discriminator(one if target_is_real else -one).mean() if for_discriminator else -one.mean()
            for one in several
        ]
        return torch.stack(parts).mean()

    @abstractmethod
    def of_discriminator(self, right: Tensor) -> Tensor:
        """Loss by how high it scores what is real, or how low what is not."""


class Hinge(AdversarialCriterion):
    """Scores beyond 1 cost nothing (Lim and Ye 2017, arXiv:1705.02894). MONAI's hinge loss squeezes scores by tanh first, so
    that none is ever beyond."""

    def of_discriminator(self, right: Tensor) -> Tensor:
        return torch.relu(1 - right)


class Wasserstein(AdversarialCriterion):
    """The difference of mean scores, an estimate of the distance of Kantorovich and Rubinstein where the discriminator is
    1-Lipschitz (Arjovsky et al. 2017, arXiv:1701.07875), which `gradient_penalty` sees to."""

    def of_discriminator(self, right: Tensor) -> Tensor:
        return -right


def gradient_penalty(judge: Callable[[Tensor], Any], real: Tensor, made: Tensor, share: Tensor) -> Tensor:
    """Mean over a batch of (|gradient of the score| - 1)^2 at images between real and made ones (B, C, *spatial), as
    differentiable as the score (Gulrajani et al. 2017, arXiv:1704.00028).

    judge: images to scores, or a list of scores; the score of an image is the mean of its patches, added over scales.
    share: (B,), of the made image in each image between.
    """
    ends = (-1, *[1] * (real.ndim - 1))
    between = real.lerp(made, share.reshape(ends).to(real)).detach().requires_grad_()
    found = judge(between)
    several = [found] if isinstance(found, Tensor) else found
    score = torch.stack([scores.flatten(1).mean(dim=1) for scores in several]).sum()
    (gradient,) = torch.autograd.grad(score, between, create_graph=True)
    return (gradient.flatten(1).norm(dim=1) - 1).square().mean()
