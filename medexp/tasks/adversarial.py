"""Adversarial: what tasks share whose network learns against a discriminator. Each batch moves both, one after the other."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from pytorch_lightning.core.optimizer import LightningOptimizer, do_nothing_closure
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from medexp.optim.groups import parameter_groups
from medexp.tasks.base import Batch, Step, Task
from medexp.tasks.epoch import EpochSoFar

PARTS = ("adversarial", "discriminator")  # logged as train/<part> beside train/loss
GENERATOR, DISCRIMINATOR = 0, 1  # places of the optimizers


class Adversarial(Task):
    """A task that steps two optimizers by itself (Goodfellow et al. 2014, arXiv:1406.2661).

    discriminator: gives scores, high for real images: MONAI's PatchDiscriminator or MultiScalePatchDiscriminator, or any
    module that returns a tensor. criterion: `criterion(scores, target_is_real, for_discriminator)`, as MONAI's
    PatchAdversarialLoss; None: the loss is it. discriminator_optimizer: what differs from `optimizer` for the discriminator
    ({lr: 1e-4}), or an optimizer of its own; None: nothing. Both follow the schedule.

    A step, as Lightning, checkpoints and seeds count it, is a batch: `critic_steps` of the discriminator, then one of the
    network. train/loss is all that the network descends, of which train/adversarial is the discriminator's part.
    """

    learnt_with = (*Task.learnt_with, "discriminator.", "criterion.")
    critic_steps = 1

    def __init__(
        self,
        discriminator: nn.Module,
        criterion: nn.Module | None = None,
        discriminator_optimizer: Callable[..., Optimizer] | Mapping[str, Any] | None = None,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        self.automatic_optimization = False
        self.discriminator, self.criterion = discriminator, criterion or self.loss
        given = discriminator_optimizer
        self._second = given if callable(given) else partial(self.optimizer, **(given or {}))
        self.clipping: tuple[Any, Any] = (None, None)  # value and algorithm, as the Trainer was told
        self.so_far = EpochSoFar(PARTS)
        self._norms: list[Tensor] = []  # of the gradients of the step, one an optimizer

    @abstractmethod
    def made(self, batch: Batch) -> tuple[Step, Any]:
        """The network's step on a training batch, and what the other two need of it."""

    @abstractmethod
    def discriminator_loss(self, batch: Batch, made: Any, turn: int) -> Tensor:
        """Of telling real from made images, which are detached from the network; turn: which of its steps with the batch."""

    @abstractmethod
    def adversarial_loss(self, batch: Batch, made: Any) -> Tensor:
        """Of the network: how little its images pass for real. Comes after the discriminator's step."""

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        step, made = self.made(batch)
        row = self.so_far.add(step.loss)  # the loss, the adversarial part of it, the discriminator's
        self._norms.clear()
        for turn in range(self.critic_steps):
            row[2] = self._learn(DISCRIMINATOR, partial(self.discriminator_loss, batch, made, turn))
        penalty = self.l1 * self._l1_norm() if self.l1 else 0.0

        def descended() -> Tensor:
            adversarial = self.adversarial_loss(batch, made)
            row[1] = adversarial.detach()
            return step.loss + adversarial + penalty

        total = self._learn(GENERATOR, descended)
        row[0] += row[1]
        self.gradient_norm = torch.stack(self._norms).norm() if self._norms else None
        if self.trainer.fit_loop.epoch_loop._num_ready_batches_reached():
            self._step_schedules(plateau=False)
        return total + row[2]

    def _learn(self, place: int, loss: Callable[[], Tensor]) -> Tensor:
        """A step of one optimizer, the parameters of the other held; returns the loss, detached."""
        optimizers: Any = self.optimizers()
        chosen: LightningOptimizer = optimizers[place]
        self.toggle_optimizer(chosen)
        value = loss()
        chosen.zero_grad()
        self.manual_backward(value)
        if place == GENERATOR:
            chosen.step()  # Lightning counts this one
        else:
            self.trainer.strategy.optimizer_step(chosen.optimizer, do_nothing_closure)
        self.untoggle_optimizer(chosen)
        return value.detach()

    def judged(self, images: Tensor, judge: nn.Module | None = None) -> Any:
        """Scores of images, a tensor or a list of tensors, float32; judge: another discriminator than the task's."""
        return scores_of((judge or self.discriminator)(images))

    def real_or_not(self, scores: Any, real: bool, for_discriminator: bool) -> Tensor:
        """The criterion, in float32."""
        with torch.autocast(self.device.type, enabled=False):
            found: Tensor = self.criterion(scores, target_is_real=real, for_discriminator=for_discriminator)
        return found

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        # Lightning clips where it steps by itself; this place is the one where it would, after unscaling.
        self.configure_gradient_clipping(optimizer, *self.clipping)
        if self.gradient_norm is not None:
            self._norms.append(self.gradient_norm)

    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()
        self._step_schedules(plateau=True)

    def _step_schedules(self, plateau: bool) -> None:
        """What Lightning does where it steps by itself: schedules after the last batch, a plateau's after the validation."""
        for entry in self.trainer.lr_scheduler_configs:
            if isinstance(entry.scheduler, ReduceLROnPlateau) != plateau or (self.current_epoch + 1) % entry.frequency:
                continue
            if not isinstance(entry.scheduler, ReduceLROnPlateau):
                entry.scheduler.step()
            elif self.monitor in self.trainer.callback_metrics:
                entry.scheduler.step(self.trainer.callback_metrics[self.monitor])

    def configure_optimizers(self) -> Any:
        optimizers, entries = super().configure_optimizers()
        known = ("scheduler", "interval", "frequency")  # of the rest Lightning warns: it steps no schedule of these
        return optimizers, [{key: entry[key] for key in known} for entry in entries]

    def judges(self) -> nn.Module:
        """All that the discriminator's optimizer moves."""
        return self.discriminator

    def learner(self) -> nn.Module:
        return nn.ModuleList([self.net, self.loss])

    def new_optimizers(self) -> list[Optimizer]:
        decay = float(getattr(self._second, "keywords", {}).get("weight_decay", 0.0))
        return [*super().new_optimizers(), self._second(parameter_groups(self.judges(), decay))]


def scores_of(found: Any) -> Any:
    """What a discriminator says in the end: MONAI's give the features of each layer with it."""
    if isinstance(found, tuple):  # of several scales: their scores, and their features
        return [scores.float() for scores in found[0]]
    return (found[-1] if isinstance(found, list) else found).float()
