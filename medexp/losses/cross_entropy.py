"""Cross-entropy over classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from medexp.losses.targets import check_smoothing, check_weights, class_weights


class CrossEntropy(nn.Module):
    """Softmax cross-entropy of class indices (B, 1, *spatial), or of class probabilities (B, K, *spatial).

    weight: one number a class; weighted losses are averaged over the weights, as in torch.
    label_smoothing: share of each target that goes to all classes evenly (Szegedy et al. 2016, arXiv:1512.00567).
    ignore_index: class index that is not scored.
    """

    soft_targets: ClassVar = ("index",)  # kinds of targets that may lie between the classes
    weight: Tensor | None

    def __init__(
        self, weight: Sequence[float] | str | None = None, label_smoothing: float = 0.0, ignore_index: int = -100
    ) -> None:
        super().__init__()
        # Not in checkpoints: weights come from the config, and inference has no training split to derive them from.
        self.register_buffer("weight", class_weights("weight", weight), persistent=False)
        self.label_smoothing = check_smoothing(label_smoothing)
        self.ignore_index = ignore_index

    def forward(self, scores: Tensor, target: Tensor) -> Tensor:
        check_weights("weight", self.weight, scores.shape[1])
        scores = scores.float()  # half precision loses small probabilities
        target = target if target.is_floating_point() else target.squeeze(1).long()
        return F.cross_entropy(
            scores, target, weight=self.weight, label_smoothing=self.label_smoothing, ignore_index=self.ignore_index
        )
