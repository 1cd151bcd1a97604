"""Pretraining without labels: two views of an image are to be told as one."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from itertools import pairwise, zip_longest
from typing import Any, Literal

import torch
from torch import Tensor, nn

from medexp.errors import UserError
from medexp.models.features import SIZE, Encoder
from medexp.models.probes import Probe
from medexp.tasks.base import Batch, Step, Task
from medexp.tasks.probing import Probing

TOGETHER = 128  # pairs of validation cases that the loss compares, whatever the batches


class Agreement(Task):
    """Learns an encoder from pairs of views (batch keys `first` and `second`, (B, C, *spatial)).

    The loss is given a projection of the features of each view, (B, D): contrastive (SimCLR: Chen et al. 2020,
    arXiv:2002.05709) or by their cross-correlation (Barlow Twins: Zbontar et al. 2021, arXiv:2103.03230).

    projector: widths of the layers between features and loss, which nothing but the loss sees. momentum: the second view goes
    through an average of the weights, in which the weights of a step have a share of 1 - momentum; None: through the network
    itself. queue: how many earlier projections of that average are compared beside (MoCo: He et al. 2020, arXiv:1911.05722).
    probes: see medexp/tasks/probing.py; labels feed nothing else. classes, provides, in_channels, patch_size, image_size: of the data set.

    Under DDP the views of all ranks are compared with each other in training. Validation compares those of each rank, by up to
    128 pairs, so that val/loss depends on the number of validation cases, and not on batches.
    """

    begun: Tensor
    queue: Tensor
    queued: Tensor

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        classes: Sequence[str] = (),
        provides: str | Sequence[str] = "",
        projector: Sequence[int] = (128, 64),
        momentum: float | None = None,
        queue: int = 0,
        probes: Mapping[str, Probe] | None = None,
        patch_size: Sequence[int] | None = None,
        image_size: Sequence[int] | None = None,
        target: Literal["views"] = "views",
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        if not projector or min(projector) < 1:
            raise UserError(f"task.projector: {list(projector)}: one width or more, each at least 1, is needed")
        if momentum is not None and not 0 <= momentum < 1:
            raise UserError(f"task.momentum: {momentum} is not from 0 to below 1; 0.99 is usual, null is none")
        self.encoder = Encoder(self.net, in_channels, patch_size or image_size or [SIZE] * spatial_dims)
        self.encoder.freeze_rest()
        self.projector = _projector(self.encoder.width, projector)
        self.probing = Probing(probes, classes, provides, self.encoder, patch_size)
        self._pairs: list[
            Tensor
        ] = []  # (B, 4, D) of each validation batch: both views, and both that they are to agree with
        self._latest = torch.zeros(0)  # of the batch that was last seen
        self.momentum = momentum
        self.teacher: nn.ModuleDict | None = None
        if momentum is not None:
            self._with_teacher(queue, projector[-1])

    def _with_teacher(self, queue: int, width: int) -> None:
        teacher = nn.ModuleDict({"net": copy.deepcopy(self.net), "projector": copy.deepcopy(self.projector)})
        self.teacher = teacher.requires_grad_(False)
        self._keys = self.encoder.of(teacher["net"])
        self.register_buffer(
            "begun", torch.tensor(False)
        )  # whether the teacher has the weights that training began with
        self.register_buffer("queue", torch.zeros(queue, width))
        self.register_buffer("queued", torch.tensor(0))  # projections that the queue was ever given

    def learn(self, split: Any) -> None:
        """Looks for labels in the training split, before training. Raises UserError where it has one case alone."""
        if (count := len(split.training_targets())) < 2:
            what = f"{count} training case, but an image is told from others"
            raise UserError(f"dataset.split: {what}; give 2 or more (dataset.limit, dataset.split.limit_train)")
        self.probing.learn(split)

    def step(self, batch: Batch) -> Step:
        ours, keys = self._projected(batch)
        if not self.training:  # the loss is of many pairs, see on_validation_epoch_end
            self._latest = torch.cat([ours, keys]).transpose(0, 1)  # (B, 4, D)
            return Step(ours.new_zeros(()), self.probing.features(batch["image"]), batch["target"])
        ours, keys = self._of_all_ranks(ours), self._of_all_ranks(keys)
        self._latest = keys[1].detach()
        return Step(self._loss(ours, keys), ours, keys)

    def _projected(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Projections (2, B, D) of both views: those that learn, and those that they are to agree with."""
        views = torch.cat([batch["first"], batch["second"]])
        ours = self.projector(self.encoder(views)).float()
        keys = ours
        if self.teacher is not None:
            with torch.no_grad():
                keys = self.teacher["projector"](self._keys(views)).float()
        return ours.view(2, -1, ours.shape[1]), keys.view(2, -1, keys.shape[1])

    def _loss(self, ours: Tensor, keys: Tensor) -> Tensor:
        if self.teacher is None:
            return self.loss(ours[0], ours[1])
        others = [self.queue[: int(self.queued)]] if len(self.queue) else []
        return (self.loss(ours[0], keys[1], *others) + self.loss(ours[1], keys[0], *others)) / 2

    def _of_all_ranks(self, found: Tensor) -> Tensor:
        """(2, B, D) to (2, ranks * B, D), with gradients to each."""
        if self.trainer.world_size == 1:
            return found
        return self.all_gather(found, sync_grads=True).transpose(0, 1).flatten(1, 2)  # type: ignore[union-attr]

    def probabilities(self, scores: Tensor) -> Tensor:
        return scores.float()

    def on_train_start(self) -> None:
        if self.teacher is not None and not self.begun:  # after weights from elsewhere have come
            self._follow(1.0)
            self.begun.fill_(True)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        if self.momentum is not None and batch_idx % self.trainer.accumulate_grad_batches == 0:
            self._follow(1 - self.momentum)
        return super().training_step(batch, batch_idx)

    @torch.no_grad()
    def _follow(self, share: float) -> None:
        """Moves the teacher's weights by a share of their distance to the network's."""
        for name, own in (("net", self.net), ("projector", self.projector)):
            torch._foreach_lerp_(list(self.teacher[name].parameters()), list(own.parameters()), share)  # type: ignore[index]

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        if self.teacher is None or not len(self.queue):
            return
        fresh = self._latest[-len(self.queue) :].nan_to_num(0.0, 0.0, 0.0)  # of a step that was left out
        places = (self.queued + torch.arange(len(fresh), device=self.device)) % len(self.queue)
        self.queue[places] = fresh
        self.queued += len(fresh)

    def on_validation_epoch_start(self) -> None:
        self.probing.fit(self.trainer)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        super().validation_step(batch, batch_idx)
        if "repeated" not in batch:
            self._pairs.append(self._latest)

    def metric_inputs(self, step: Step) -> tuple[Tensor, Tensor]:
        self.probing.update(step.scores, step.target)
        return step.scores, step.target

    def on_validation_epoch_end(self) -> None:
        pairs = self._pairs_of_all_ranks()
        self._val_losses, self._val_cases = [torch.zeros((), device=self.device)], len(pairs)
        for part in pairs.tensor_split(max(-(-len(pairs) // TOGETHER), 1)):
            if len(part) > 1:  # one alone has nothing to be told from
                first, second, first_key, second_key = part.unbind(dim=1)
                loss = self._loss(torch.stack([first, second]), torch.stack([first_key, second_key]))
                self._val_losses.append(loss * len(part))
        for name, value in self.probing.results().items():
            self.log(f"val/{name}", value, sync_dist=True)  # equal on all ranks
        super().on_validation_epoch_end()

    def _pairs_of_all_ranks(self) -> Tensor:
        """(N, 4, D): the validation cases that each rank has seen, in the order of one that sees them all; forgotten here."""
        shares: list[list[Tensor]] = [[pair.cpu() for pair in torch.cat(self._pairs)] if self._pairs else []]
        self._pairs = []
        if self.trainer.world_size > 1:
            own, shares = shares[0], [[]] * self.trainer.world_size
            torch.distributed.all_gather_object(shares, own)
        found = [pair for turn in zip_longest(*shares) for pair in turn if pair is not None]
        return (torch.stack(found) if found else torch.zeros(0, 4, 1)).to(self.device)

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return self.probing.described(self.probing.features(batch["image"])).float()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Says beside which tensors of the network had no part in the pretraining: nobody is to begin with them."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["untrained"] = [f"net.{name}" for name in self.encoder.unlearnt()]
        self.probing.without_stale(checkpoint["state_dict"], "probing.", self.trainer.global_step)


def _projector(width: int, widths: Sequence[int]) -> nn.Sequential:
    """Dense layers, with batch norm and ReLU between them."""
    layers: list[nn.Module] = []
    for place, (before, after) in enumerate(pairwise([width, *widths]), start=1):
        layers.append(nn.Linear(before, after, bias=False))
        if place < len(widths):
            layers += [nn.BatchNorm1d(after), nn.ReLU()]
    return nn.Sequential(*layers)
