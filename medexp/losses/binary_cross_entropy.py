"""Binary cross-entropy, each class on its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from medexp.losses.targets import check_smoothing, check_weights, class_weights, one_hot, smoothed


class BinaryCrossEntropy(nn.Module):
    """Sigmoid cross-entropy of float targets (B, K, *spatial), or of class indices (B, 1, *spatial) one-hot.

    pos_weight: one number a class that multiplies the positives' share of the loss.
    label_smoothing: share by which targets move towards one half.
    """

    soft_targets: ClassVar = ("binary", "multilabel")  # kinds of targets that may lie between the classes
    pos_weight: Tensor | None

    def __init__(self, pos_weight: Sequence[float] | str | None = None, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.label_smoothing = check_smoothing(label_smoothing)
        # Not in checkpoints: weights come from the config, and inference has no training split to derive them from.
        self.register_buffer("pos_weight", class_weights("pos_weight", pos_weight), persistent=False)

    def forward(self, scores: Tensor, target: Tensor) -> Tensor:
        check_weights("pos_weight", self.pos_weight, scores.shape[1])
        if not target.is_floating_point():
            target = one_hot(target, scores.shape[1])
        weight = self.pos_weight
        if weight is not None:
            weight = weight.view(-1, *[1] * (scores.ndim - 2))  # (K,) against (B, K, *spatial)
        target = smoothed(target.float(), self.label_smoothing)
        return F.binary_cross_entropy_with_logits(scores.float(), target, pos_weight=weight)
