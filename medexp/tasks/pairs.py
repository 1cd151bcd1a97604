"""What tasks share that learn images from images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from medexp.tasks.base import Batch, Step


class ImageScores:
    """Of tasks whose scores are images (B, C, *spatial) in prepared intensities."""

    def probabilities(self, scores: Tensor) -> Tensor:
        return scores.float()

    def metric_inputs(self, step: Step) -> tuple[Tensor, Tensor]:
        return step.scores, step.target


class Pairs(ImageScores):
    """Of tasks that make the batch's `reference` of its `image`; stands before a Task among the bases.

    residual: the network gives the difference to its input (Zhang 2017, DnCNN, doi:10.1109/TIP.2017.2662206), which needs
    as many channels out as in. Where patches are hidden (degradation=masked_patches) the loss is of these alone
    (He et al. 2022, arXiv:2111.06377, section 3).
    """

    loss: nn.Module

    def __init__(self, residual: bool = True, target: str = "image", **shared: Any) -> None:
        super().__init__(**shared)
        self.residual, self.target = residual, target

    def network(self, batch: Batch) -> Callable[[Tensor], Any]:
        return self.with_residual(super().network(batch))  # type: ignore[misc]  # a Task's

    def with_residual(self, net: Callable[[Tensor], Any]) -> Callable[[Tensor], Any]:
        return (lambda image: image + net(image)) if self.residual else net

    def step(self, batch: Batch) -> Step:
        scores = self(batch).float()  # type: ignore[operator]  # (B, K, *spatial)
        reference = batch["reference"]
        hidden = batch.get("hidden")  # bool (B, 1, *spatial); a voxel that is shown counts as restored
        judged = scores if hidden is None else torch.where(hidden, scores, reference.to(scores))
        return Step(self.loss(judged, reference), scores, reference)
