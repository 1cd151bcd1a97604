"""What comes next in a study of several frames: the next values, or the next frames, over one or several horizons."""

from __future__ import annotations

from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from medexp.errors import UserError
from medexp.tasks.base import Batch, Step, Task


class Split(Protocol):
    """Of a data module: the last known value and those to predict of its training cases."""

    def training_targets(self) -> Tensor: ...


class NextValue(Task):
    """The values of the next frames, (B, horizon) in their own unit.

    The network learns standardised values: those of the training split have mean 0 and standard deviation 1.
    change: it learns the change since the last frame that it sees, whose value is then needed to predict.
    """

    mean: Tensor
    std: Tensor
    level: Tensor

    def __init__(
        self, horizon: int = 1, change: bool = False, target: Literal["next_value"] = "next_value", **shared: Any
    ) -> None:
        super().__init__(**shared)
        self.horizon, self.change = horizon, change
        self.register_buffer("mean", torch.zeros(horizon))
        self.register_buffer("std", torch.ones(horizon))
        self.register_buffer("level", torch.tensor([0.0, 1.0]))  # mean and standard deviation of the values themselves

    def learn(self, split: Split) -> None:
        """Takes mean and standard deviation from the training split, before training. Raises UserError where all values
        are one."""
        targets = split.training_targets()  # (N, 1 + horizon)
        wanted = targets[:, 1:] - targets[:, :1] if self.change else targets[:, 1:]
        spread = wanted.std(dim=0)
        if len(wanted) < 2 or not (spread > 0).all():
            raise UserError(f"dataset: the values of the {len(wanted)} training cases do not differ: nothing to learn")
        self.mean.copy_(wanted.mean(dim=0))
        self.std.copy_(spread)
        self.level.copy_(torch.stack([targets.mean(), targets.std()]))

    def network(self, batch: Batch) -> Any:
        if "values" in batch:
            batch = {**batch, "values": (batch["values"] - self.level[0]) / self.level[1]}
        return super().network(batch)

    def forward(self, batch: Batch) -> Tensor:
        return self.base(batch) + self.std * super().forward(batch).float()

    def base(self, batch: Batch) -> Tensor:
        """What the scores of the network are added to: (B, horizon), or (horizon,)."""
        if not self.change:
            return self.mean
        if "values" not in batch:
            raise UserError("task.change: true needs the value at the last frame, which these studies lack; give it")
        last = batch["values"].gather(1, batch["frames"][:, None] - 1)  # (B, 1)
        return self.mean + last

    def step(self, batch: Batch) -> Step:
        predicted, base = self(batch), self.base(batch)
        loss = self.loss((predicted - base) / self.std, (batch["target"] - base) / self.std)
        return Step(loss, predicted, batch["target"])

    def probabilities(self, scores: Tensor) -> Tensor:
        """The values as they are."""
        return scores.float()


class NextFrame(Task):
    """The next frames as images, (B, horizon * C, *spatial), frame after frame, in units of the prepared image."""

    def __init__(self, horizon: int = 1, target: Literal["next_frame"] = "next_frame", **shared: Any) -> None:
        super().__init__(**shared)
        self.horizon = horizon

    def step(self, batch: Batch) -> Step:
        scores = self(batch).float()
        return Step(self.loss(scores, batch["target"]), scores, batch["target"])

    def probabilities(self, scores: Tensor) -> Tensor:
        """The images as they are."""
        return scores.float()
