"""Batches of blended cases, and targets blended alike: mixup and CutMix."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from medexp.errors import UserError
from medexp.losses.targets import one_hot
from medexp.seeding import derive

BLENDED = {"image", "label", "target"}


class Mixing(pl.Callback, ABC):
    """Each case of a training batch is blended with another of the batch. All draws are f(seed, step, rank).

    alpha: of the Beta distribution that the share of the first case is drawn from: small values leave most cases nearly
    as they are, 1 is uniform. probability: share of the batches that are blended.
    """

    word: ClassVar[str]  # in seeds and messages

    def __init__(self, alpha: float, probability: float) -> None:
        if alpha <= 0:
            raise UserError(f"callbacks.{self.word}.alpha: {alpha} is not above 0; leave {self.word} out for none")
        if not 0 <= probability <= 1:
            raise UserError(f"callbacks.{self.word}.probability: {probability} is not between 0 and 1")
        self.alpha, self.probability = alpha, probability

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        task: Any = pl_module
        place = (trainer.global_step, trainer.global_rank, batch_idx % trainer.accumulate_grad_batches)
        rng = np.random.default_rng(derive(task.seed, self.word, *place))
        if rng.random() >= self.probability:
            return
        other = [key for key, value in batch.items() if isinstance(value, Tensor) and key not in BLENDED]
        if other:
            raise UserError(f"callbacks.{self.word}: cannot blend '{other[0]}' of the batch; leave the callback out")
        count = len(batch["image"])
        share = float(rng.beta(self.alpha, self.alpha))
        partner = torch.as_tensor(rng.permutation(count), device=batch["image"].device)
        share = self.blend(batch, partner, share, rng)
        if "target" in batch:
            target = batch["target"]
            target = target if target.is_floating_point() else one_hot(target, task.out_channels)
            batch["target"] = target.lerp(target[partner], 1 - share)

    @abstractmethod
    def blend(self, batch: dict[str, Any], partner: Tensor, share: float, rng: np.random.Generator) -> float:
        """Blends image (B, C, *spatial) with those of `partner` (B,) in place; returns the share that was kept."""


class Mixup(Mixing):
    """Weighted means of two images and of their targets (Zhang et al. 2018, arXiv:1710.09412)."""

    word = "mixup"

    def __init__(self, alpha: float = 0.2, probability: float = 1.0) -> None:
        super().__init__(alpha, probability)

    def blend(self, batch: dict[str, Any], partner: Tensor, share: float, rng: np.random.Generator) -> float:
        batch["image"] = batch["image"].lerp(batch["image"][partner], 1 - share)
        return share


class CutMix(Mixing):
    """A box of another image, and of its label map, in the place of one's own; the target of an image is blended by the
    volume of the box (Yun et al. 2019, arXiv:1905.04899), here in 2D and 3D."""

    word = "cutmix"

    def __init__(self, alpha: float = 1.0, probability: float = 0.5) -> None:
        super().__init__(alpha, probability)

    def blend(self, batch: dict[str, Any], partner: Tensor, share: float, rng: np.random.Generator) -> float:
        size = batch["image"].shape[2:]
        side = (1 - share) ** (1 / len(size))  # of the box, as a share of each axis
        box = []
        for length in size:
            centre, half = int(rng.integers(length)), side * length / 2
            box.append(slice(max(round(centre - half), 0), min(round(centre + half), length)))
        place = (slice(None), slice(None), *box)
        for key in ("image", "label"):
            if key in batch:
                mixed = batch[key].clone()
                mixed[place] = batch[key][partner][place]
                batch[key] = mixed
        taken = np.prod([edge.stop - edge.start for edge in box]) / np.prod(size)
        return 1 - float(taken)
