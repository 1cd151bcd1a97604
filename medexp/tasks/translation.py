"""Images to images: denoising, deblurring, super-resolution, and one modality from others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from medexp.tasks.base import Batch, Step, Task


class Translation(Task):
    """Images (B, C, *spatial) from degraded ones, or from other channels.

    residual: the network gives the difference to its input (Zhang 2017, DnCNN, doi:10.1109/TIP.2017.2662206), which needs
    as many channels out as in.
    """

    def __init__(self, residual: bool = True, target: str = "image", **shared: Any) -> None:
        super().__init__(**shared)
        self.residual, self.target = residual, target

    def network(self, batch: Batch) -> Callable[[Tensor], Any]:
        net = super().network(batch)
        return (lambda image: image + net(image)) if self.residual else net

    def step(self, batch: Batch) -> Step:
        scores = self(batch).float()  # (B, K, *spatial)
        return Step(self.loss(scores, batch["reference"]), scores, batch["reference"])

    def probabilities(self, scores: Tensor) -> Tensor:
        return scores.float()

    def metric_inputs(self, step: Step) -> tuple[Tensor, Tensor]:
        return step.scores, step.target
