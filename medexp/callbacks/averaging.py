"""Averages of the weights: what is validated, kept and tested in place of the last step's."""

from __future__ import annotations

import math
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor

from medexp.errors import UserError


class Averages(WeightAveraging):
    """What the averages share, by Lightning's WeightAveraging: validation, checkpoints and the test use the average, and
    a checkpoint keeps the weights that training goes on from beside it. Before the first step that counts there is none,
    and the weights of the last step stand."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._exchanged = False  # the task holds the average, this callback the weights of the last step

    @property
    def begun(self) -> bool:
        return self._average_model is not None and int(self._average_model.n_averaged) > 0

    def _swap_models(self, pl_module: pl.LightningModule) -> None:
        if self.begun:
            super()._swap_models(pl_module)
            self._exchanged = not self._exchanged

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._swap_models(pl_module)  # not copied over the weights: the last checkpoint may be written after this

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        super().on_save_checkpoint(trainer, pl_module, checkpoint)
        if self._exchanged:  # at the end of training, or within a validation that was interrupted
            average, current = checkpoint["current_model_state"], checkpoint["state_dict"]
            checkpoint["current_model_state"], checkpoint["state_dict"] = current, average
        elif self._average_model is not None and not self.begun:
            checkpoint["state_dict"] = checkpoint["current_model_state"]


class AverageWeights(Averages):
    """Exponential moving average of weights and running statistics (Polyak and Juditsky 1992; Tarvainen and Valpola 2017).

    decay: share of the old average in the new one, a step. It rises to that as (1 + n) / (10 + n) after n steps, so that
    short runs are not left with what they started from.
    """

    def __init__(self, decay: float = 0.999) -> None:
        if not 0 <= decay < 1:
            raise UserError(f"callbacks.ema.decay: {decay} is not between 0 and 1; 0.999 averages about 1000 steps")
        super().__init__(multi_avg_fn=self._average)
        self.decay = decay

    @torch.no_grad()
    def _average(self, averages: list[Tensor], current: list[Tensor], count: Tensor) -> None:
        """Of tensors of one dtype and device, as AveragedModel groups them."""
        done = int(count)
        if averages[0].is_floating_point():
            torch._foreach_lerp_(averages, current, 1 - min(self.decay, (1 + done) / (10 + done)))
        else:  # a counter of batches has no average
            torch._foreach_copy_(averages, current)


class StochasticWeightAverage(Averages):
    """Mean of the weights, and of the running statistics, at the ends of the last epochs (Izmailov et al. 2018,
    arXiv:1803.05407).

    start: share of the training after which epochs count. Lightning's StochasticWeightAveraging puts its average into the
    task at the end of training alone, so that no checkpoint and no validation knows it, and brings a schedule of its own;
    here the schedule is the run's: the paper's is scheduler=constant, cosine averages the tail of a descent.
    """

    def __init__(self, start: float = 0.75) -> None:
        if not 0 <= start < 1:
            raise UserError(f"callbacks.swa.start: {start} is not from 0 to below 1; 0.75 averages the last quarter")
        super().__init__(multi_avg_fn=_mean)
        self.start = start
        self._counts = False  # whether the step that ends is the last of an epoch that counts

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage == "fit" and (trainer.max_epochs or -1) < 1:
            raise UserError(f"trainer.max_epochs: {trainer.max_epochs} sets no end, which callbacks.swa counts from")
        super().setup(trainer, pl_module, stage)

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        return step_idx is not None and self._counts

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # Before the validation of the epoch, which is of the average with this epoch in it.
        first = math.ceil(self.start * (trainer.max_epochs or 0))
        self._counts = trainer.is_last_batch and trainer.current_epoch >= first
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)


@torch.no_grad()
def _mean(averages: list[Tensor], current: list[Tensor], count: Tensor) -> None:
    """The mean with one more, of tensors of one dtype and device. Counters of batches are those of the last."""
    if averages[0].is_floating_point():
        torch._foreach_lerp_(averages, current, 1 / (int(count) + 1))
    else:
        torch._foreach_copy_(averages, current)
