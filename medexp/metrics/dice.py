"""Dice of validation batches: per case and class, from counts."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

from medexp.errors import UserError


class CaseDice(Metric):
    """Mean over classes of the mean over cases of Dice = 2 |P and T| / (|P| + |T|).

    A class that is absent from both prediction and label of a case says nothing there and is left out of the class's
    mean; a class that no case has is left out of the mean over classes. Where nothing is left, the value is 0.0, so that
    a monitored run never sees NaN. torchmetrics' DiceScore averages classes first, keeps every case and returns NaN.

    num_classes: classes, background included.
    include_background: whether class 0 counts.
    Raises UserError where a label holds a value outside of 0 .. num_classes - 1.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    total: Tensor
    cases: Tensor

    def __init__(self, num_classes: int, include_background: bool = False) -> None:
        super().__init__()
        if num_classes < 2:
            raise UserError(f"CaseDice: num_classes is {num_classes}, but a label map has at least 2; state the background")
        self.num_classes, self.include_background = num_classes, include_background
        self.add_state("total", torch.zeros(num_classes), dist_reduce_fx="sum")
        self.add_state("cases", torch.zeros(num_classes, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, scores: Tensor, target: Tensor) -> None:
        """Adds a batch: scores (B, C, *spatial), logits or probabilities; target (B, 1, *spatial), integers."""
        classes = self.num_classes
        if scores.shape[1] != classes or target.shape != (len(scores), 1, *scores.shape[2:]):
            raise UserError(
                f"CaseDice: scores {tuple(scores.shape)} and label {tuple(target.shape)}, "
                f"expected (B, {classes}, *spatial) and (B, 1, *spatial)"
            )
        low, high = (int(bound) for bound in target.aminmax())
        if low < 0 or high >= classes:
            seen = high if low >= 0 else low
            raise UserError(f"CaseDice: a label holds {seen}, allowed: 0 .. {classes - 1}; check dataset.classes")
        joint = joint_counts(first_highest(scores), target[:, 0], classes)  # (B, target, prediction)
        size = joint.sum(1) + joint.sum(2)
        dice = 2 * joint.diagonal(dim1=1, dim2=2) / size.clamp(min=1)  # (B, C)
        self.total += dice.sum(0)
        self.cases += (size > 0).sum(0)

    def compute(self) -> Tensor:
        """The mean over classes that at least one case has, or 0.0."""
        first = 0 if self.include_background else 1
        total, cases = self.total[first:], self.cases[first:]
        seen = cases > 0
        return (total[seen] / cases[seen]).mean() if bool(seen.any()) else total.new_zeros(())


def first_highest(scores: Tensor) -> Tensor:
    """Index (B, *spatial) of the highest of scores (B, C, *spatial); the lower class where two tie.

    Channel by channel: torch's argmax strides over the channel axis voxel by voxel, several times slower on CPU.
    """
    best = scores[:, 0]
    index = torch.zeros(best.shape, dtype=torch.uint8 if scores.shape[1] <= 256 else torch.long, device=scores.device)
    for channel in range(1, scores.shape[1]):
        index.masked_fill_(scores[:, channel] > best, channel)
        best = torch.maximum(best, scores[:, channel])
    return index


def joint_counts(prediction: Tensor, target: Tensor, num_classes: int) -> Tensor:
    """Voxels (B, target class, predicted class) of label maps (B, *spatial)."""
    batch = len(target)
    case = torch.arange(batch, device=target.device).view(-1, *[1] * (target.ndim - 1))
    code = (case * num_classes + target) * num_classes + prediction
    return torch.bincount(code.flatten(), minlength=batch * num_classes**2).view(batch, num_classes, num_classes)
