"""The hardest examples of a batch alone."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medexp.errors import UserError
from medexp.losses.targets import check_smoothing, smoothed


class HardExamples(nn.Module):
    """Online hard-example mining (Shrivastava et al. 2016, arXiv:1604.03540): the mean of the largest cross-entropies of a
    batch, so that many easy negatives do not drown the rest. Of voxels it is the top-k loss (Wu et al. 2016,
    arXiv:1605.06885).

    Softmax for class indices (B, 1, *spatial), sigmoid of each label for float targets (B, K, *spatial) and for one
    channel.
    keep: share of the batch's examples (images, labels, voxels) that count, at least one.
    label_smoothing: share of each target that goes to all classes evenly, or towards one half (sigmoid).
    """

    soft_targets: ClassVar = ("binary", "multilabel")  # kinds of targets that may lie between the classes

    def __init__(self, keep: float = 0.25, label_smoothing: float = 0.0) -> None:
        super().__init__()
        if not 0 < keep <= 1:
            raise UserError(
                f"loss.keep: {keep} is not above 0 and at most 1; 0.25 keeps the hardest quarter of a batch"
            )
        self.keep, self.label_smoothing = keep, check_smoothing(label_smoothing)

    def forward(self, scores: Tensor, target: Tensor) -> Tensor:
        losses = self._each(scores.float(), target).flatten()
        return torch.topk(losses, max(1, round(self.keep * len(losses)))).values.mean()

    def _each(self, scores: Tensor, target: Tensor) -> Tensor:
        """The loss of each example: (B, *spatial) of classes, (B, K, *spatial) of labels."""
        if scores.shape[1] > 1 and not target.is_floating_point():
            classes = target.squeeze(1).long()
            return F.cross_entropy(scores, classes, reduction="none", label_smoothing=self.label_smoothing)
        target = smoothed(target.float(), self.label_smoothing)
        return F.binary_cross_entropy_with_logits(scores, target, reduction="none")
