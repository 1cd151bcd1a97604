"""Focal loss for class indices and for labels on their own."""

from __future__ import annotations

from collections.abc import Sequence

from monai.losses import FocalLoss
from torch import Tensor, nn

from medexp.losses.targets import one_hot


class Focal(nn.Module):
    """MONAI's focal loss (Lin et al. 2017): softmax for class indices (B, 1, *spatial), sigmoid for float targets.

    gamma: how much easy examples lose.
    alpha: weight in [0, 1] of all classes but the first (softmax) or of the positives (sigmoid), or one number a class.
    The mean is over voxels and classes, as in MONAI: at gamma 0 a K-th of cross-entropy.
    """

    def __init__(self, gamma: float = 2.0, alpha: float | Sequence[float] | None = None) -> None:
        super().__init__()
        self.exclusive = FocalLoss(gamma=gamma, alpha=alpha, use_softmax=True)
        self.independent = FocalLoss(gamma=gamma, alpha=alpha)

    def forward(self, scores: Tensor, target: Tensor) -> Tensor:
        if target.is_floating_point():
            return self.independent(scores.float(), target)
        classes = scores.shape[1]
        loss = self.exclusive if classes > 1 else self.independent  # a softmax over one class is constant
        return loss(scores.float(), one_hot(target, classes))
