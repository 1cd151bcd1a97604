"""Detection from masks: a segmentation network whose connected components are the objects."""

from __future__ import annotations

from typing import Any, Literal

import torch
from monai.losses import DeepSupervisionLoss
from torch import Tensor, nn

from medexp.inferers.peaks import components, padded
from medexp.tasks.base import Batch, Step, Task
from medexp.tasks.segmentation import scores_are_stacked


class Instances(Task):
    """Learns label maps as segmentation does, and answers with objects as detection does: a component each.

    least: chance of a class from which on a voxel belongs to an object. most: objects of an image.
    """

    def __init__(
        self,
        loss: nn.Module,
        least: float = 0.5,
        most: int = 200,
        target: Literal["instances"] = "instances",
        **shared: Any,
    ) -> None:
        super().__init__(loss=DeepSupervisionLoss(loss), **shared)  # type: ignore[arg-type]  # any loss module will do
        self.least, self.most = least, most

    def step(self, batch: Batch) -> Step:
        scores = self(batch)  # (B, K, *spatial), or heads in training
        if scores_are_stacked(scores, batch["image"]):
            scores = scores.unbind(dim=1)
        scores = [head.float() for head in scores] if isinstance(scores, list | tuple) else scores.float()
        return Step(self.loss(scores, batch["label"]), scores, batch["label"])

    def probabilities(self, scores: Tensor) -> Tensor:
        """Objects (B, N, 2 * axes + 2), see medexp/inferers/peaks.py; rows of score 0 fill up."""
        chances = torch.softmax(scores.float(), dim=1)
        return padded([components(one, self.least)[: self.most] for one in chances])

    def metric_inputs(self, step: Step) -> tuple[Tensor, Tensor]:
        return step.scores, step.target  # Dice of the maps, as in segmentation
