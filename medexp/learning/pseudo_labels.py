"""Pseudo-labels: what the network is sure of in the weak view is the label of the strong view."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from medexp.errors import UserError
from medexp.learning.base import STRONG, UNLABELLED, Learner, Learning, scores_of
from medexp.learning.pseudo import against, said
from medexp.learning.ramp import Ramp


class PseudoLabels(Learning):
    """Pseudo-labels by confidence (FixMatch: Sohn et al. 2020, arXiv:2001.07685).

    To the supervised loss is added `weight` times the cross-entropy of the strong view of the unlabelled cases with what the
    network says of the weak one, where it gives that a probability of `threshold` or more: the mean over all images (or
    voxels, or labels), of which the others count as 0. The weight rises over `ramp_up` optimizer steps (see Ramp); the paper's
    is there from the start. target: the task's kind (medexp/targets.py). Raises UserError.
    """

    kinds: ClassVar = ("mask", "index", "binary", "multilabel")
    strong: ClassVar = True
    tells: ClassVar = ("unlabelled", "confident")  # what the loss of the strong views adds; the share that has a label

    def __init__(self, target: str, weight: float = 1.0, ramp_up: int = 100, threshold: float = 0.95) -> None:
        super().__init__()
        if not 0 <= threshold < 1:
            raise UserError(f"learning.threshold: {threshold} is not from 0 to below 1; 0 takes whatever is said")
        self.target, self.threshold, self.ramp = target, threshold, Ramp(weight, ramp_up)

    def objective(self, task: Learner, batch: dict[str, Any]) -> Tensor:
        supervised: Tensor = task.step(batch).loss
        weight = self.ramp(task.global_step)
        self.told = ()
        if not weight:
            return supervised
        bare = batch[UNLABELLED]
        with torch.no_grad():
            labels, confidence = said(scores_of(task, task.net, bare), self.target)
        losses = against(scores_of(task, task.net, bare, STRONG), labels, self.target)
        sure = confidence >= self.threshold
        added = weight * (losses * sure).mean()
        self.told = added.detach(), sure.float().mean()
        return supervised + added
