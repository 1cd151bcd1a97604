"""Task: what every task shares. A task's own file says only what differs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torchmetrics import Metric

from medexp.errors import UserError
from medexp.optim.groups import parameter_groups
from medexp.seeding import derive

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
    """

    def __init__(
        self,
        net: nn.Module,
        loss: nn.Module,
        optimizer: Callable[..., torch.optim.Optimizer],
        scheduler: Any,
        inferer: Callable[[Tensor, nn.Module], Tensor],
        metrics: dict[str, Metric],
        out_channels: int,
        monitor: str,
        mode: str = "max",
        seed: int = 0,
        l1: float = 0.0,
    ) -> None:
        super().__init__()
        self.net = net
        self.loss = loss
        self.optimizer, self.scheduler, self.inferer = optimizer, scheduler, inferer
        self.metrics = nn.ModuleDict(metrics)
        self.out_channels, self.monitor, self.mode, self.seed, self.l1 = out_channels, monitor, mode, seed, l1
        self._losses: list[Tensor] = []
        self._rate = 0.0

    @abstractmethod
    def step(self, batch: Batch) -> Step:
        """Loss, scores and target of a batch."""

    @abstractmethod
    def probabilities(self, scores: Tensor) -> Tensor:
        """Scores (logits) to what users see: (B, K) or (B, K, *spatial), float32."""

    def metric_inputs(self, step: Step) -> tuple[Tensor, Tensor]:
        """What the validation metrics are given."""
        return self.probabilities(step.scores), step.target

    def forward(self, image: Tensor) -> Tensor:
        """Scores of images (B, C, *spatial): the bare network in training, through the inferer otherwise."""
        return self.net(image) if self.training else self.inferer(image, self.net)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        # Dropout and its like draw from f(seed, step, rank): a resumed run draws what the unbroken one would have.
        torch.manual_seed(derive(self.seed, "step", self.global_step, self.global_rank))
        self._rate = float(self.trainer.optimizers[0].param_groups[0]["lr"])

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = self.step(batch).loss
        self._losses.append(loss.detach())
        return loss + self.l1 * self._l1_norm() if self.l1 else loss

    def on_train_epoch_end(self) -> None:
        # Of all ranks: where the loss is not finite on one, all stop, and none waits for another.
        mean = self.trainer.strategy.reduce(torch.stack(self._losses).float().mean(), reduce_op="mean")
        self._losses.clear()
        self.log("train/loss", mean, sync_dist=True)
        self.log("lr", self._rate, sync_dist=True)  # what the epoch was trained with: the schedule has stepped since
        if not torch.isfinite(mean):
            raise FloatingPointError(
                f"the training loss became {mean.item()} in epoch {self.current_epoch}; "
                "lower optimizer.lr, set trainer.gradient_clip_val=1, or use trainer.precision=32-true"
            )

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        step = self.step(batch)
        self.log("val/loss", step.loss, on_epoch=True, batch_size=len(batch["case_id"]), sync_dist=True)
        inputs = self.metric_inputs(step)
        for metric in self._metric_objects():
            metric.update(*inputs)

    def on_validation_epoch_end(self) -> None:
        for name, metric in zip(self.metrics, self._metric_objects(), strict=True):
            self.log(f"val/{name}", metric.compute(), sync_dist=True)  # equal on all ranks
            metric.reset()

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return self.probabilities(self(batch["image"])).float()

    def configure_optimizers(self) -> Any:
        groups = parameter_groups(self, weight_decay=self._weight_decay())
        try:
            optimizer = self.optimizer(groups)
        except (TypeError, ValueError) as error:  # what a constructor says of a value
            raise UserError(f"optimizer: {error}; mend its values (`medexp list optimizer`)") from None
        return [optimizer], self.scheduler.configure(optimizer, self.monitor, self.mode)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The rate is a function of the epoch: a run resumed with another trainer.max_epochs follows the curve of that length."""
        saved = checkpoint.get("lr_schedulers")
        stand_in = self.optimizer(parameter_groups(self, weight_decay=self._weight_decay()))
        entries = self.scheduler.configure(stand_in, self.monitor, self.mode)
        if not saved or any(entry.get("reduce_on_plateau") for entry in entries):
            return  # a plateau is a matter of what was seen, not of the epoch
        stand_in.step()  # before any gradient: moves nothing, but schedules want it to come first
        for _ in range(saved[0]["last_epoch"]):
            for entry in entries:
                entry["scheduler"].step()
        checkpoint["lr_schedulers"] = [entry["scheduler"].state_dict() for entry in entries]
        for group, follows in zip(
            checkpoint["optimizer_states"][0]["param_groups"], stand_in.param_groups, strict=True
        ):
            group["lr"] = follows["lr"]

    def _weight_decay(self) -> float:
        return float(getattr(self.optimizer, "keywords", {}).get("weight_decay", 0.0))

    def _metric_objects(self) -> Iterator[Metric]:
        return iter(self.metrics.values())  # type: ignore[arg-type]

    def _l1_norm(self) -> Tensor:
        decayed = [
            p for group in parameter_groups(self, weight_decay=1.0) if group["weight_decay"] for p in group["params"]
        ]
        return torch.stack([p.abs().sum() for p in decayed]).sum()
