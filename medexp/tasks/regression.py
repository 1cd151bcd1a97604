"""Regression: one or several measures of an image."""

from __future__ import annotations

import logging
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from medexp.errors import UserError
from medexp.tasks.base import Batch, Step, Task

log = logging.getLogger(__name__)
HIGHEST = 40.0  # of a logarithm: e^40 is beyond every measure, and its square is finite


class Split(Protocol):
    """Of a data module."""

    def training_targets(self) -> Tensor: ...


class Standard(nn.Module):
    """Measures (B, T) in their own unit to what a loss is fair to, and back: less the mean and over the standard deviation
    of the training split, which stay with the weights.

    logarithm: of 1 + the measure, for counts and volumes that spread over orders of magnitude.
    """

    mean: Tensor
    std: Tensor
    usual: Tensor  # mean in the own unit: what is predicted without any image

    def __init__(self, count: int, logarithm: bool = False) -> None:
        super().__init__()
        self.logarithm = logarithm
        for name, value in (("mean", 0.0), ("std", 1.0), ("usual", 0.0)):
            self.register_buffer(name, torch.full((count,), value))

    def learn(self, targets: Tensor) -> None:
        """From the training targets (N, T). Raises UserError for a number below 0 that is to have a logarithm."""
        targets = targets.double()
        if targets.shape[1] != len(self.mean):
            seen = f"{targets.shape[1]} targets a case, task.out_channels is {len(self.mean)}"
            raise UserError(f"dataset.targets: {seen}; leave task.out_channels to its leaf")
        if self.logarithm and bool((targets < 0).any()):
            raise UserError(
                f"task.log: a target is {targets.min():g}, and 1 + it has a logarithm from 0 on; set task.log=false"
            )
        scaled = torch.log1p(targets) if self.logarithm else targets
        std = scaled.std(dim=0, correction=0)
        for place in (std == 0).nonzero().flatten().tolist():
            seen = f"target {place + 1} of dataset.targets is {targets[0, place]:g} in each of {len(targets)} training cases"
            log.warning("%s: there is nothing to learn from it", seen)
        self.mean.copy_(scaled.mean(dim=0))
        self.std.copy_(torch.where(std > 0, std, 1.0))
        self.usual.copy_(targets.mean(dim=0))

    def forward(self, values: Tensor) -> Tensor:
        """(B, T) in their own unit to scores."""
        return ((torch.log1p(values) if self.logarithm else values) - self.mean) / self.std

    def back(self, scores: Tensor) -> Tensor:
        """Scores (B, T) to values in their own unit, float32."""
        scaled = scores.float() * self.std + self.mean
        return torch.expm1(scaled.clamp(0, HIGHEST)) if self.logarithm else scaled


class Regression(Task):
    """Measures from images; targets (B, T) come in their own unit, and so do predictions. The loss sees both standardised.

    log: whether the logarithm of 1 + each measure is learnt.
    """

    def __init__(self, target: Literal["value"] = "value", log: bool = False, **shared: Any) -> None:
        super().__init__(**shared)
        self.standard = Standard(self.out_channels, log)

    def learn(self, split: Split) -> None:
        """Takes mean and standard deviation from the training split, before training. Raises UserError."""
        self.standard.learn(split.training_targets())

    def step(self, batch: Batch) -> Step:
        scores = self(batch).float()  # (B, T)
        return Step(self.loss(scores, self.standard(batch["target"])), scores, batch["target"])

    def probabilities(self, scores: Tensor) -> Tensor:
        """(B, 2, T): the values in their own unit, and beside them what the training split's mean says."""
        values = self.standard.back(scores)
        return torch.stack([values, self.standard.usual.expand_as(values)], dim=1)

    def metric_inputs(self, step: Step) -> tuple[Tensor, Tensor]:
        return self.standard.back(step.scores), step.target
