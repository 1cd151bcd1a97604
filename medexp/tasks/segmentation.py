"""Semantic segmentation: one class a voxel."""

from __future__ import annotations

from typing import Any, Literal

import torch
from monai.losses import DeepSupervisionLoss
from torch import Tensor, nn

from medexp.tasks.base import Batch, Step, Task


class Segmentation(Task):
    """Label maps from images. Networks may return deep-supervision heads in training: each halves the weight of the one before."""

    def __init__(self, loss: nn.Module, target: Literal["mask"] = "mask", **shared: Any) -> None:
        super().__init__(loss=DeepSupervisionLoss(loss), **shared)  # type: ignore[arg-type]  # any loss module will do

    def step(self, batch: Batch) -> Step:
        scores = self(batch)  # (B, K, *spatial), or heads in training
        if scores_are_stacked(scores, batch["image"]):
            scores = scores.unbind(dim=1)  # DynUNet stacks its heads: (B, heads, K, *spatial)
        # Sums over a volume of half-precision scores overflow: the loss sees float32 whatever the network computes in.
        scores = [head.float() for head in scores] if isinstance(scores, list | tuple) else scores.float()
        return Step(self.loss(scores, batch["label"]), scores, batch["label"])

    def probabilities(self, scores: Tensor) -> Tensor:
        return torch.softmax(scores.float(), dim=1)

    def metric_inputs(self, step: Step) -> tuple[Tensor, Tensor]:
        return step.scores, step.target  # the arg max of logits is that of probabilities


def scores_are_stacked(scores: Any, image: Tensor) -> bool:
    """Whether a network's output carries an axis of deep-supervision heads."""
    return isinstance(scores, Tensor) and scores.ndim == image.ndim + 1
