"""A moving average of the weights: what is validated, kept and tested in place of the last step's."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor

from medexp.errors import UserError


class AverageWeights(WeightAveraging):
    """Exponential moving average of weights and running statistics (Polyak and Juditsky 1992; Tarvainen and Valpola
    2017), by Lightning's WeightAveraging: validation, checkpoints and the test use the average, and a checkpoint keeps the
    weights that training goes on from beside it.

    decay: share of the old average in the new one, a step. It rises to that as (1 + n) / (10 + n) after n steps, so that
    short runs are not left with what they started from.
    """

    def __init__(self, decay: float = 0.999) -> None:
        if not 0 <= decay < 1:
            raise UserError(f"callbacks.ema.decay: {decay} is not between 0 and 1; 0.999 averages about 1000 steps")
        super().__init__(multi_avg_fn=self._average)
        self.decay = decay
        self._exchanged = False  # the task holds the average, this callback the weights of the last step

    @torch.no_grad()
    def _average(self, averages: list[Tensor], current: list[Tensor], count: Tensor) -> None:
        """Of tensors of one dtype and device, as AveragedModel groups them."""
        done = int(count)
        if averages[0].is_floating_point():
            torch._foreach_lerp_(averages, current, 1 - min(self.decay, (1 + done) / (10 + done)))
        else:  # a counter of batches has no average
            torch._foreach_copy_(averages, current)

    def _swap_models(self, pl_module: pl.LightningModule) -> None:
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
