"""Dice for validation: cheap enough to run every epoch.

torchmetrics' `DiceScore` averages otherwise (classes within a case, then cases), gives NaN where nothing is defined,
and makes two int64 one-hot volumes: 8 bytes a class and voxel.
"""

from __future__ import annotations

import logging

import torch
from torch import Tensor
from torchmetrics import Metric

from medexp.targets import IGNORED

logger = logging.getLogger(__name__)


class CaseDice(Metric):
    """Mean over classes of the mean over cases of Dice = 2 |P & T| / (|P| + |T|).

    A class in neither the prediction nor the label of a case is left out of that class's mean; a class in only one
    counts as 0. With nothing defined at all, `compute` gives 0 and logs a warning: there was no foreground to find or
    to invent. Voxels of the label IGNORED count for nothing. The states are sums, so that ranks reduce to what one process would have seen.

    Raises `ValueError` for fewer than two classes (take one channel a class, background included), for scores with
    another number of channels, and for labels beyond the classes.
    """

    higher_is_better = True
    is_differentiable = False
    full_state_update = False
    dice_sum: Tensor
    cases: Tensor

    def __init__(self, num_classes: int, include_background: bool = False) -> None:
        super().__init__()
        if num_classes < 2:
            raise ValueError(f"num_classes: {num_classes}: one channel a class, background included: 2 or more")
        self.num_classes = num_classes
        self.include_background = include_background
        self.add_state("dice_sum", torch.zeros(num_classes), dist_reduce_fx="sum")
        self.add_state("cases", torch.zeros(num_classes, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, scores: Tensor, label: Tensor) -> None:
        """`scores`: logits or probabilities (B, C, *spatial); `label`: class indices (B, 1, *spatial)."""
        counts = self._counts(scores, label)  # (B, K of the label, K of the prediction)
        overlap = counts.diagonal(dim1=1, dim2=2)  # (B, K)
        size = counts.sum(1) + counts.sum(2)
        present = size > 0
        self.dice_sum += (2 * overlap / size.clamp(min=1)).to(self.dice_sum.dtype).sum(0)
        self.cases += present.sum(0)

    def compute(self) -> Tensor:
        """Scalar, 0 to 1."""
        first = 0 if self.include_background else 1
        dice, cases = self.dice_sum[first:], self.cases[first:]
        if not cases.any():
            logger.warning(
                "CaseDice: no class in any label or prediction of these cases: Dice is not defined, 0 is given"
            )
            return dice.new_zeros(())
        return (dice[cases > 0] / cases[cases > 0]).mean()

    def _counts(self, scores: Tensor, label: Tensor) -> Tensor:
        batch, classes = scores.shape[0], self.num_classes
        if scores.shape[1] != classes or label.shape != (batch, 1, *scores.shape[2:]):
            raise ValueError(
                f"scores {tuple(scores.shape)} and label {tuple(label.shape)}: "
                f"(B, {classes}, *spatial) and (B, 1, *spatial) are needed"
            )
        ignored = label.flatten(1) == IGNORED if classes <= IGNORED else None
        ignored = ignored if ignored is not None and bool(ignored.any()) else None
        if ignored is not None:
            label = label.masked_fill(label == IGNORED, 0)
        if int(label.max()) >= classes or int(label.min()) < 0:
            raise ValueError(
                f"labels {int(label.min())} to {int(label.max())}; num_classes={classes} allows 0 to {classes - 1}"
            )
        predicted = scores.max(dim=1).indices.flatten(
            1
        )  # the same as argmax, and 5 to 8 times faster over a strided axis
        joint = (label.flatten(1).int() * classes).add_(predicted)
        joint += torch.arange(batch, device=joint.device, dtype=joint.dtype)[:, None] * classes**2
        if ignored is not None:
            joint = joint.masked_fill(ignored, batch * classes**2)
        counts = torch.bincount(joint.flatten(), minlength=batch * classes**2)
        return counts[: batch * classes**2].view(batch, classes, classes)
