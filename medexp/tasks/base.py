"""Task: what every task shares. A task's own file says only what differs."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, NamedTuple

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torchmetrics import Metric

from medexp.errors import UserError
from medexp.learning.base import Learning
from medexp.metrics.nothing import empty
from medexp.optim.groups import parameter_groups
from medexp.optim.layers import groups_by_layer
from medexp.optim.schedule import follow
from medexp.seeding import derive
from medexp.tasks.draws import reseed
from medexp.tasks.epoch import EpochSoFar

Batch = dict[str, Any]


class Step(NamedTuple):
    """Outcome of one batch: the loss (scalar), the network's scores (logits) and the target in the loss's convention."""

    loss: Tensor
    scores: Any
    target: Tensor


class Task(pl.LightningModule, ABC):
    """Training, validation and prediction for any task: logging, metrics, optimizer and schedule.

    net: the network; its output is the task's business.
    loss: `loss(scores, target)`; integer targets carry a channel axis of 1, float targets are used as they are.
    optimizer: completed with parameter groups; weight decay spares norms and biases.
    scheduler: a `medexp.optim.schedule.Schedule`.
    inferer: `inferer(image, net)` outside of training: whole image or sliding window.
    metrics: torchmetrics by name, updated on validation batches, logged as val/<name>.
    l1: weight of the L1 penalty on the parameters that weight decay applies to.
    layer_decay: share of its learning rate that each layer hands to the one before it, so that the first layers of a
    pretrained network learn least; 1: all layers learn at one rate.
    learning: how training uses its batches; None: by the step alone.
    """

    # Beginnings of the names in its state that no prediction needs; a release is without them.
    learnt_with: ClassVar[tuple[str, ...]] = ("loss.", "metrics.")

    def __init__(
        self,
        net: nn.Module,
        loss: nn.Module,
        optimizer: Callable[..., torch.optim.Optimizer],
        scheduler: Any,
        inferer: Callable[[Tensor, Callable[[Tensor], Any]], Any],
        metrics: dict[str, Metric],
        out_channels: int,
        monitor: str,
        mode: str = "max",
        seed: int = 0,
        l1: float = 0.0,
        layer_decay: float = 1.0,
        learning: Learning | None = None,
    ) -> None:
        super().__init__()
        self.net = net
        self.loss = loss
        self.optimizer, self.scheduler, self.inferer = optimizer, scheduler, inferer
        self.metrics = nn.ModuleDict(metrics)
        self.out_channels, self.monitor, self.mode, self.seed, self.l1 = out_channels, monitor, mode, seed, l1
        self.layer_decay, self.learning = layer_decay, learning
        if learning is not None:
            learning.begin(net)
        self._named = tuple(inspect.signature(net.forward).parameters)[1:]
        self.so_far = EpochSoFar(() if learning is None else learning.tells)
        self._val_losses: list[Tensor] = []  # of each batch of a validation, times its cases
        self._val_cases = 0
        self.gradient_norm: Tensor | None = None  # of the last step, over all parameters, before clipping

    def __setattr__(self, name: str, value: Any) -> None:
        # Lightning notes the hook that it is in 40 times a step; torch would look at each note for parameters.
        if name == "_current_fx_name":
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    @abstractmethod
    def step(self, batch: Batch) -> Step:
        """Loss, scores and target of a batch."""

    @abstractmethod
    def probabilities(self, scores: Tensor) -> Tensor:
        """Scores (logits) to what users see: (B, K) or (B, K, *spatial), float32."""

    def metric_inputs(self, step: Step) -> tuple[Tensor, Tensor]:
        """What the validation metrics are given."""
        return self.probabilities(step.scores), step.target

    def forward(self, batch: Batch) -> Any:
        """Scores of a batch's images (B, C, *spatial): the bare network in training, through the inferer otherwise."""
        net = self.network(batch)
        return net(batch["image"]) if self.training else self.inferer(batch["image"], net)

    def network(self, batch: Batch) -> Callable[[Tensor], Any]:
        """The network of an image alone: whatever else its `forward` names, beside the first argument, it is given from
        the batch where that has it, a value a case; the windows of one case share it."""
        given = {name: batch[name] for name in self._named if name in batch}
        net = self.net if self.training or self.learning is None else self.learning.predictor(self.net)
        if not given:
            return net

        def with_given(image: Tensor) -> Any:
            return net(image, **{name: _for_each(value, len(image)) for name, value in given.items()})

        return with_given

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        # Dropout and its like draw from f(seed, step, rank): a resumed run draws what the unbroken one would have.
        parts = [batch_idx] if self.trainer.accumulate_grad_batches > 1 else []  # batches of one step draw anew
        reseed(derive(self.seed, "step", self.global_step, self.global_rank, *parts), self.device)
        self.so_far.rate = float(self.trainer.optimizers[0].param_groups[0]["lr"])

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = self.step(batch).loss if self.learning is None else self.learning.objective(self, batch)
        self.so_far.add(loss, *(() if self.learning is None else self.learning.told))
        return loss + self.l1 * self._l1_norm() if self.l1 else loss

    def on_train_epoch_end(self) -> None:
        # Of all ranks: where the loss is not finite on one, all stop, and none waits for another.
        found = self.trainer.strategy.reduce(self.so_far.means(self.device), reduce_op="mean")
        mean = found[0]
        for name, value in zip(("loss", *self.so_far.names), found, strict=True):
            self.log(f"train/{name}", value, sync_dist=True)
        # What the epoch was trained with: the schedule has stepped since.
        self.log("lr", self.so_far.rate, sync_dist=True)
        if not torch.isfinite(mean):
            raise FloatingPointError(
                f"the training loss became {mean.item()} in epoch {self.current_epoch}; "
                "lower optimizer.lr, set trainer.gradient_clip_val=1, or use trainer.precision=32-true"
            )

    def leave_out(self, batches: int) -> Tensor:
        """Takes the last batches, which were not learnt from, out of train/loss; returns the mean of their losses."""
        return self.so_far.leave_out(batches)

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None
    ) -> None:
        """Lightning's clipping; the norm that it is by is kept, for it tells whether the gradient is finite."""
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        by_norm = gradient_clip_algorithm in (None, "norm") and gradient_clip_val
        if getattr(self.trainer.precision_plugin, "scaler", None) is not None:  # has gradients of its own scale
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
        elif by_norm:
            self.gradient_norm = torch.nn.utils.clip_grad_norm_(parameters, gradient_clip_val)
        else:
            self.gradient_norm = torch.nn.utils.get_total_norm([p.grad for p in parameters])
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        step = self.step(batch)
        repeated = "repeated" in batch  # a case of another rank, where there are fewer cases than ranks: not counted
        cases = 0 if repeated else len(batch["case_id"])
        self._val_losses.append(step.loss.detach().float() * cases)
        self._val_cases += cases
        inputs = self.metric_inputs(step)
        for metric in self._metric_objects():
            metric.update(*inputs)
            if repeated:
                empty(metric)

    def on_validation_epoch_end(self) -> None:
        # Lightning's mean over ranks rounds their numbers of cases: 3 and 2 would be counted as 2 each.
        own = torch.stack(
            [torch.stack(self._val_losses).sum(), torch.tensor(float(self._val_cases), device=self.device)]
        )
        total, cases = self.trainer.strategy.reduce(own, reduce_op="sum")
        self._val_losses, self._val_cases = [], 0
        self.log("val/loss", total / cases, sync_dist=True)  # equal on all ranks
        for name, metric in zip(self.metrics, self._metric_objects(), strict=True):
            self.log(f"val/{name}", metric.compute(), sync_dist=True)  # equal on all ranks
            metric.reset()

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return self.probabilities(self(batch)).float()

    def configure_optimizers(self) -> Any:
        try:
            optimizers = self.new_optimizers()
        except (TypeError, ValueError, RuntimeError, LookupError) as error:  # what a constructor says of a value
            raise UserError(f"optimizer: {error}; mend its values (`medexp list optimizer`)") from None
        if learning := self.learning:
            optimizers[0].register_step_post_hook(lambda *_: learning.stepped(self))
        return optimizers, self._schedules(optimizers)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The losses of an epoch that is under way, (ranks, batches), so that its train/loss will be of all of it."""
        if saved := self.so_far.saved(self.of_ranks):
            checkpoint["epoch_so_far"] = saved

    def of_ranks(self, own: Tensor) -> Tensor:
        """What each rank has, (ranks, *own): all of one shape."""
        ranks = [own]
        if self.trainer.world_size > 1:
            ranks = [torch.empty_like(own) for _ in range(self.trainer.world_size)]
            torch.distributed.all_gather(ranks, own)
        return torch.stack(ranks)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """A run resumed with another trainer.max_epochs follows the schedule of that length."""
        if so_far := checkpoint.get("epoch_so_far"):
            self.so_far.restore(so_far, self.trainer.global_rank, self.device)
        stand_ins = self.new_optimizers()
        follow(checkpoint, stand_ins, self._schedules(stand_ins))

    def learner(self) -> nn.Module:
        """All that the optimizer moves."""
        return self

    def new_optimizers(self) -> list[torch.optim.Optimizer]:
        """What the task learns with, the network's first."""
        groups = groups_by_layer(self.learner(), self.net, getattr(self.optimizer, "keywords", {}), self.layer_decay)
        return [self.optimizer(groups)]

    def _schedules(self, optimizers: list[torch.optim.Optimizer]) -> list[dict[str, Any]]:
        return [entry for one in optimizers for entry in self.scheduler.configure(one, self.monitor, self.mode)]

    def _metric_objects(self) -> Iterator[Metric]:
        return iter(self.metrics.values())  # type: ignore[arg-type]

    def _l1_norm(self) -> Tensor:
        groups = parameter_groups(self.learner(), weight_decay=1.0)
        decayed = [p for group in groups if group["weight_decay"] for p in group["params"]]
        return torch.stack([p.abs().sum() for p in decayed]).sum()


def _for_each(value: Tensor, count: int) -> Tensor:
    """A value a case (B, ...) for `count` images: as many cases, or windows of one case."""
    return value if len(value) == count else value.expand(count, *value.shape[1:])
