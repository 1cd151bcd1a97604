"""Ordinal classification: grades, of which one is more than the one before."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from medexp.metrics.ordinal import median_grade
from medexp.tasks.base import Batch, Step, Task


class Ordinal(Task):
    """Grades from images, each threshold between two of them a yes or no: is it more? (Frank and Hall 2001). The loss sees
    K - 1 logits and as many zeros and ones.

    coral: one score an image, the mean of the network's outputs, and a learnt threshold each, so that the answers agree with
    each other (Cao et al. 2020, doi:10.1016/j.patrec.2020.11.008); else each answer has weights of its own.
    """

    def __init__(self, target: Literal["ordinal"] = "ordinal", coral: bool = False, **shared: Any) -> None:
        super().__init__(**shared)
        spread = torch.linspace(1, -1, self.out_channels) if self.out_channels > 1 else torch.zeros(1)
        self.thresholds = nn.Parameter(spread) if coral else None

    def step(self, batch: Batch) -> Step:
        outputs = self(batch).float()  # (B, K - 1)
        grade = batch["target"]  # (B, 1)
        more = (grade > torch.arange(self.out_channels, device=grade.device)).float()
        return Step(self.loss(self._logits(outputs), more), outputs, grade)

    def _logits(self, outputs: Tensor) -> Tensor:
        """Of being more than each grade but the last, (B, K - 1)."""
        return outputs if self.thresholds is None else outputs.mean(dim=1, keepdim=True) + self.thresholds

    def probabilities(self, scores: Tensor) -> Tensor:
        """(B, K). Answers that contradict each other are made to agree: what is not more than a grade is not more than
        the next one either."""
        more = torch.sigmoid(self._logits(scores.float())).cummin(dim=1).values
        whole = torch.cat([torch.ones_like(more[:, :1]), more, torch.zeros_like(more[:, :1])], dim=1)
        return whole[:, :-1] - whole[:, 1:]

    def metric_inputs(self, step: Step) -> tuple[Tensor, Tensor]:
        return median_grade(self.probabilities(step.scores)), step.target.squeeze(1)
