"""Image classification: one class an image, a yes or no, or several labels at once."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from medexp.tasks.base import Batch, Step, Task


class Classification(Task):
    """Classes from images.

    target "index": one of K classes, softmax; "binary": one logit, sigmoid; "multilabel": K logits, sigmoid each.
    """

    def __init__(self, target: Literal["index", "binary", "multilabel"] = "index", **shared: Any) -> None:
        super().__init__(**shared)
        self.target = target

    def step(self, batch: Batch) -> Step:
        scores = self(batch)  # (B, K)
        return Step(self.loss(scores, batch["target"]), scores, batch["target"])

    def probabilities(self, scores: Tensor) -> Tensor:
        return torch.softmax(scores.float(), dim=1) if self.target == "index" else torch.sigmoid(scores.float())

    def metric_inputs(self, step: Step) -> tuple[Tensor, Tensor]:
        # torchmetrics takes class indices as (B,) and binary targets as integers.
        target = step.target.squeeze(1) if self.target == "index" else step.target.int()
        return self.probabilities(step.scores), target
