"""Losses of label maps that say less than one class a voxel: voxels and classes that nobody annotated, scribbles, points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medexp.errors import UserError, nearest
from medexp.targets import IGNORED

SMOOTH = 1e-5  # of Dice, as in MONAI


class Known(nn.Module):
    """What a value of a target (B, 1, *spatial) says, for K classes and the groups of `dataset.annotation`: below K, a class;
    K + g, none of the classes that group g annotates, so that it is the background or one of the others; IGNORED, nothing."""

    members: Tensor

    def __init__(self, classes: Sequence[str], groups: Sequence[Sequence[str]] = ()) -> None:
        super().__init__()
        names = [str(name) for name in classes]
        rows = torch.eye(len(names), dtype=torch.bool)
        for group in groups:
            for name in group:
                if name not in names[1:]:
                    hint = nearest(str(name), names[1:]) or ";"
                    raise UserError(f"loss.groups: '{name}'{hint} classes: {', '.join(names[1:])}")
            rows = torch.cat([rows, torch.tensor([[name not in group for name in names]])])
        self.count = len(names)
        self.register_buffer("members", rows, persistent=False)  # (K + groups, K)

    def forward(self, target: Tensor) -> tuple[Tensor, Tensor]:
        """Which classes a voxel may be of, (B, K, *spatial), and whether anything is known of it, (B, *spatial)."""
        values = target[:, 0].long()
        there = values != IGNORED
        possible = self.members[values.masked_fill(~there, 0)].movedim(-1, 1) | ~there[:, None]
        return possible, there


def cross_entropy(scores: Tensor, possible: Tensor, there: Tensor) -> Tensor:
    """Mean over the voxels of which something is known of the cross-entropy of the classes that are possible, together: of the
    marginal probability (Shi 2021, doi:10.1016/j.media.2021.101979, eq. 4)."""
    chances = F.log_softmax(scores, dim=1).masked_fill(~possible, -torch.inf).logsumexp(dim=1)
    return -chances[there].sum() / there.sum().clamp(min=1)


class PartialDiceCE(nn.Module):
    """Dice and cross-entropy where some classes are annotated in some cases only, and some voxels in none (Fang and Yan 2020,
    doi:10.1109/TMI.2020.3001036; Shi 2021): equal to `dice_ce` where all is.

    The background of a case counts as the sum of the background and of the classes that it has no annotation of. The Dice of
    a class is over the voxels of which it is known whether they are of it; a class that no case of the batch annotates has
    none. exclusion: weight of the overlap of such classes with those that are annotated, which no voxel is both of (Shi
    2021, eq. 9). groups: those of `dataset.annotation`. The background has no Dice, and sums are over the batch.
    """

    partial_labels: ClassVar = True  # it leaves out voxels of the value IGNORED

    def __init__(
        self,
        classes: Sequence[str],
        groups: Sequence[Sequence[str]] = (),
        dice: float = 1.0,
        ce: float = 1.0,
        exclusion: float = 0.0,
    ) -> None:
        super().__init__()
        self.known = Known(classes, groups)
        self.dice, self.ce, self.exclusion = dice, ce, exclusion

    def forward(self, scores: Tensor, target: Tensor) -> Tensor:
        """scores: (B, K, *spatial). target: (B, 1, *spatial), see `Known`."""
        scores = scores.float()
        possible, there = self.known(target)
        loss = self.ce * cross_entropy(scores, possible, there)
        chances = scores.softmax(dim=1)
        single = possible.sum(dim=1, keepdim=True) == 1
        truth = possible & single  # (B, K, *spatial): known to be of the class
        left_out = (possible & ~single & there[:, None]).flatten(2).any(dim=2)[:, 1:]  # (B, K - 1): not annotated
        loss = loss + self.dice * self._dice(chances[:, 1:], truth[:, 1:], (truth | ~possible)[:, 1:], left_out)
        if self.exclusion:
            loss = loss + self.exclusion * self._overlap(chances[:, 1:], truth[:, 1:], left_out)
        return loss

    @staticmethod
    def _dice(chances: Tensor, truth: Tensor, settled: Tensor, left_out: Tensor) -> Tensor:
        axes = [0, *range(2, chances.ndim)]
        overlap = (chances * truth).sum(axes)
        sizes = (chances * settled).sum(axes) + truth.sum(axes)
        each = 1 - (2 * overlap + SMOOTH) / (sizes + SMOOTH)
        counted = ~left_out.all(dim=0)
        return (each * counted).sum() / counted.sum().clamp(min=1)

    @staticmethod
    def _overlap(chances: Tensor, truth: Tensor, left_out: Tensor) -> Tensor:
        annotated = truth.any(dim=1, keepdim=True).float()  # of another class
        axes = list(range(2, chances.ndim))
        sizes = chances.sum(axes) + annotated.sum(axes)
        each = 2 * (chances * annotated).sum(axes) / (sizes + SMOOTH)  # (B, K - 1)
        return (each * left_out).sum() / left_out.sum().clamp(min=1)


class PartialCrossEntropy(nn.Module):
    """Cross-entropy of the voxels that are annotated (scribbles, points), and smoothness of all: `smoothness` times the mean
    total variation of the probabilities, sum over classes and axes of |p(x + 1) - p(x)| (Rudin 1992; as a regulariser of
    weak labels Javanmardi 2016, arXiv:1611.01259)."""

    partial_labels: ClassVar = True

    def __init__(self, classes: Sequence[str], smoothness: float = 0.1) -> None:
        super().__init__()
        if smoothness < 0:
            raise UserError(f"loss.smoothness: {smoothness} is below 0; 0.1 is usual, 0 is none")
        self.known, self.smoothness = Known(classes), smoothness

    def forward(self, scores: Tensor, target: Tensor) -> Tensor:
        """scores: (B, K, *spatial). target: (B, 1, *spatial), IGNORED where there is no annotation."""
        scores = scores.float()
        loss = cross_entropy(scores, *self.known(target))
        if not self.smoothness:
            return loss
        chances = scores.softmax(dim=1)
        varied = [chances.diff(dim=axis).abs().sum(dim=1).mean() for axis in range(2, chances.ndim)]
        return loss + self.smoothness * torch.stack(varied).sum()
