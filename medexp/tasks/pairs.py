"""What tasks share that learn images from images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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
    as many channels out as in.
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
        return Step(self.loss(scores, batch["reference"]), scores, batch["reference"])
