"""Focal loss for class indices and for labels on their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from monai.losses import FocalLoss
from torch import Tensor, nn

from medexp.losses.targets import check_smoothing, one_hot, smoothed


class Focal(nn.Module):
    """MONAI's focal loss (Lin et al. 2017): softmax for class indices (B, 1, *spatial), sigmoid for float targets.

    gamma: how much easy examples lose.
    alpha: weight in [0, 1] of all classes but the first (softmax) or of the positives (sigmoid), or one number a class.
    label_smoothing: share of each target that goes to all classes evenly, or towards one half (sigmoid).
    The mean is over voxels and classes, as in MONAI: at gamma 0 a K-th of cross-entropy.
    """

    soft_targets: ClassVar = ("binary", "multilabel")  # kinds of targets that may lie between the classes

    def __init__(
        self, gamma: float = 2.0, alpha: float | Sequence[float] | None = None, label_smoothing: float = 0.0
    ) -> None:
        super().__init__()
        self.label_smoothing = check_smoothing(label_smoothing)
        self.exclusive = FocalLoss(gamma=gamma, alpha=alpha, use_softmax=True)
        self.independent = FocalLoss(gamma=gamma, alpha=alpha)

    def forward(self, scores: Tensor, target: Tensor) -> Tensor:
        if target.is_floating_point():
            return self.independent(scores.float(), smoothed(target, self.label_smoothing))
        classes, hot = scores.shape[1], one_hot(target, scores.shape[1])
        if classes == 1:  # a softmax over one class is constant
            return self.independent(scores.float(), smoothed(hot, self.label_smoothing))
        return self.exclusive(scores.float(), hot * (1 - self.label_smoothing) + self.label_smoothing / classes)
