"""Images to images with a discriminator beside the loss: pix2pix."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from medexp.tasks.adversarial import Adversarial
from medexp.tasks.base import Batch, Step
from medexp.tasks.pairs import Pairs


class Pix2Pix(Pairs, Adversarial):
    """Translation whose images must also pass for real beside the image that they are made of (Isola et al. 2017,
    doi:10.1109/CVPR.2017.632).

    weight: of the adversarial loss beside the loss (the paper's 100 for the L1 loss is 0.01 here). condition: the
    discriminator sees the network's input in front of the image that it judges. residual: see Pairs.
    """

    def __init__(
        self, residual: bool = True, target: str = "image", weight: float = 0.01, condition: bool = True, **shared: Any
    ) -> None:
        super().__init__(residual=residual, target=target, **shared)
        self.weight, self.condition = weight, condition

    def made(self, batch: Batch) -> tuple[Step, Tensor]:
        step = self.step(batch)
        return step, step.scores

    def discriminator_loss(self, batch: Batch, made: Tensor, turn: int) -> Tensor:
        real = self.real_or_not(self._judged(batch, batch["reference"]), True, for_discriminator=True)
        fake = self.real_or_not(self._judged(batch, made.detach()), False, for_discriminator=True)
        return (real + fake) / 2

    def adversarial_loss(self, batch: Batch, made: Tensor) -> Tensor:
        return self.weight * self.real_or_not(self._judged(batch, made), True, for_discriminator=False)

    def _judged(self, batch: Batch, images: Tensor) -> Any:
        return self.judged(torch.cat([batch["image"], images], dim=1) if self.condition else images)
