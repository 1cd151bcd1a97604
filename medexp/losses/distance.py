"""Distances between scores and targets: squared, absolute, and between the two.

Float targets (B, K, *spatial) are compared with the scores as they are. Class indices (B, 1, *spatial) are compared as
one-hot with the scores' probabilities, which makes the squared distance the Brier score (Brier 1950) over K.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medexp.losses.targets import one_hot


class Distance(nn.Module, ABC):
    """What the distances share: bringing scores and target to one form."""

    def forward(self, scores: Tensor, target: Tensor) -> Tensor:
        scores = scores.float()
        if target.is_floating_point():
            return self.distance(scores, target.float())
        classes = scores.shape[1]
        values = torch.softmax(scores, dim=1) if classes > 1 else torch.sigmoid(scores)
        return self.distance(values, one_hot(target, classes))

    @abstractmethod
    def distance(self, values: Tensor, target: Tensor) -> Tensor:
        """Mean over all elements of two float tensors of one shape."""


class MeanSquaredError(Distance):
    """Mean of squared differences."""

    def distance(self, values: Tensor, target: Tensor) -> Tensor:
        return F.mse_loss(values, target)


class MeanAbsoluteError(Distance):
    """Mean of absolute differences."""

    def distance(self, values: Tensor, target: Tensor) -> Tensor:
        return F.l1_loss(values, target)


class SmoothL1(Distance):
    """d^2 / (2 beta) where the difference d is below beta, d - beta / 2 above (Girshick 2015)."""

    def __init__(self, beta: float = 1.0) -> None:
        super().__init__()
        self.beta = beta

    def distance(self, values: Tensor, target: Tensor) -> Tensor:
        return F.smooth_l1_loss(values, target, beta=self.beta)
