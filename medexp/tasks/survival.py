"""Risk and prognosis: how soon an event comes, learnt from follow-up that may be censored."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from medexp.errors import UserError
from medexp.metrics.forecast import pack, rounded
from medexp.models.hazards import Hazards
from medexp.tasks.base import Batch, Step, Task

ASKED = (0.25, 0.5, 0.75)  # of the training events: their times are the horizons where none are asked
COVERED = np.arange(1, 20) / 20  # of the training events: their times are the grid of the survival curves


class Split(Protocol):
    """Of a data module: its training cases outside of training."""

    def training_targets(self) -> Tensor: ...

    def training_cases(self) -> Iterable[Batch]: ...


class Survival(Task):
    """Risks and survival probabilities from images; targets (B, 2) are time, and event (1) or censored (0).

    head: what the scores mean (medexp/models/hazards.py). horizons: times at which survival is asked, in the unit of
    the data; None: when a quarter, a half and three quarters of the events of the training split had happened.

    Before every validation the training split goes through the network once, as validation cases do, for the baseline hazard
    and the median risk. Under DDP each rank takes its share.
    """

    horizons: Tensor
    grid: Tensor
    median: Tensor

    def __init__(
        self,
        head: Hazards,
        horizons: Sequence[float] | None = None,
        target: Literal["survival"] = "survival",
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        if horizons is not None and (not horizons or min(horizons) <= 0):
            raise UserError(f"task.horizons: {list(horizons)}: times above 0 are needed, or null")
        self.head, asked = head, len(ASKED) if horizons is None else len(horizons)
        self.asked = None if horizons is None else sorted(horizons)
        self.register_buffer("horizons", torch.zeros(asked))
        self.register_buffer("grid", torch.zeros(len(COVERED)))
        self.register_buffer("median", torch.zeros(()))

    def learn(self, split: Split) -> None:
        """Takes times from the training split, before training. Raises UserError where it has no event."""
        targets = split.training_targets()
        events = targets[targets[:, 1] > 0, 0].numpy()
        if not len(events):
            raise UserError(f"dataset: all {len(targets)} training cases are censored: there is no event to learn from")
        self.head.learn(targets)
        asked = np.quantile(events, ASKED) if self.asked is None else np.array(self.asked)
        self.horizons.copy_(torch.from_numpy(rounded(asked)))
        self.grid.copy_(torch.from_numpy(rounded(np.quantile(events, COVERED))))

    def step(self, batch: Batch) -> Step:
        scores = self(batch).float()  # (B, 1), or (B, K) of K intervals
        return Step(self.loss(scores, self.head.target(batch["target"])), scores, batch["target"])

    def probabilities(self, scores: Tensor) -> Tensor:
        """(B, ...): a packed forecast a case (medexp/metrics/forecast.py)."""
        scores = scores.float()
        risk = self.head.risk(scores)
        survival, curve = (self.head.survival(scores, times) for times in (self.horizons, self.grid))
        return pack(risk, risk > self.median, self.horizons, survival, self.grid, curve)

    def metric_inputs(self, step: Step) -> tuple[Tensor, Tensor]:
        return self.head.risk(step.scores), step.target

    def on_validation_epoch_start(self) -> None:
        split = getattr(self.trainer, "datamodule", None)
        if split is None or self.trainer.sanity_checking:
            return
        found = [self._seen(batch) for batch in split.training_cases()]
        scores, targets = (torch.cat(parts) for parts in zip(*found, strict=True))
        if self.trainer.world_size > 1:
            shares: list[Any] = [None] * self.trainer.world_size
            torch.distributed.all_gather_object(shares, (scores.cpu(), targets.cpu()))
            scores, targets = (torch.cat(parts).to(self.device) for parts in zip(*shares, strict=True))
        self.head.settle(scores, targets)
        self.median.copy_(self.head.risk(scores).median())

    def _seen(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Scores and targets of training cases, in the precision of the trainer."""
        batch = self.trainer.strategy.batch_to_device(batch)
        with self.trainer.precision_plugin.forward_context():
            return self(batch).float(), batch["target"]
