"""Images to images where no image has its counterpart: CycleGAN."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from medexp.tasks.adversarial import Adversarial
from medexp.tasks.base import Batch, Step
from medexp.tasks.pairs import Pairs


class Made(NamedTuple):
    """Of a training batch, (B, C, *spatial): images and references, and what became of each on the other side."""

    images: Tensor
    references: Tensor
    there: Tensor
    back: Tensor


class CycleGan(Pairs, Adversarial):
    """Two networks, there and back, each with a discriminator of its own (Zhu et al. 2017, doi:10.1109/ICCV.2017.244). The
    batch's `image` and `reference` are of different patients; validation compares real pairs.

    net: there, which predicts. inverse: back. discriminator judges references, inverse_discriminator images.
    loss: of what comes back from a round trip, weighted by `cycle`, and of what is there already and should stay as it is,
    by `identity` (which needs as many channels in as out). residual: see Pairs.
    pool: so many images that were made earlier are shown to each discriminator in place of new ones, half of the time
    (Shrivastava et al. 2017, doi:10.1109/CVPR.2017.241); 0: none. They are in the checkpoint.
    """

    learnt_with = (*Adversarial.learnt_with, "inverse.", "inverse_discriminator.")

    def __init__(
        self,
        inverse: nn.Module,
        inverse_discriminator: nn.Module,
        residual: bool = False,
        target: str = "image",
        cycle: float = 10.0,
        identity: float = 5.0,
        pool: int = 50,
        **shared: Any,
    ) -> None:
        super().__init__(residual=residual, target=target, **shared)
        self.inverse, self.inverse_discriminator = inverse, inverse_discriminator
        self.cycle, self.identity, self.pool = cycle, identity, pool
        self._pools: list[Tensor | None] = [None, None]  # (N, C, *spatial) of references made, and of images

    def made(self, batch: Batch) -> tuple[Step, Made]:
        there, back = self.network(batch), self.with_residual(self.inverse)
        images, references = batch["image"], batch["reference"].float()
        made = Made(images, references, there(images).float(), back(references).float())
        loss = self.cycle * (
            self.loss(back(made.there).float(), images) + self.loss(there(made.back).float(), references)
        )
        if self.identity:
            stays = self.loss(there(references).float(), references) + self.loss(back(images).float(), images)
            loss = loss + self.identity * stays
        return Step(loss, made.there, references), made

    def discriminator_loss(self, batch: Batch, made: Made, turn: int) -> Tensor:
        sides = ((made.references, made.there), (made.images, made.back))
        parts = []
        for side, (real, fake) in enumerate(sides):
            shown = self._pooled(side, fake.detach())
            parts.append(self.real_or_not(self._judged(side, real), True, for_discriminator=True))
            parts.append(self.real_or_not(self._judged(side, shown), False, for_discriminator=True))
        return torch.stack(parts).sum() / 2

    def adversarial_loss(self, batch: Batch, made: Made) -> Tensor:
        parts = [
            self.real_or_not(self._judged(side, fake), True, for_discriminator=False)
            for side, fake in enumerate((made.there, made.back))
        ]
        return torch.stack(parts).sum()

    def _judged(self, side: int, images: Tensor) -> Any:
        return self.judged(images, self.inverse_discriminator if side else None)

    def _pooled(self, side: int, fake: Tensor) -> Tensor:
        """These images, or for some of them earlier ones, in whose place they come, by the generators of the step."""
        if not self.pool:
            return fake
        held = self._pools[side]
        held = fake[:0] if held is None else held.to(fake)
        room = self.pool - len(held)
        self._pools[side] = held = torch.cat([held, fake[:room]]) if room > 0 else held
        shown = fake.clone()
        for index in range(max(room, 0), len(fake)):
            place = int(torch.randint(2 * self.pool, ()))
            if place < self.pool:
                shown[index] = held[place]
                held[place] = fake[index]
        return shown

    def judges(self) -> nn.Module:
        return nn.ModuleList([self.discriminator, self.inverse_discriminator])

    def learner(self) -> nn.Module:
        return nn.ModuleList([self.net, self.inverse, self.loss])

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["pools"] = [None if pool is None else self.of_ranks(pool) for pool in self._pools]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        rank = self.trainer.global_rank
        self._pools = [None if pools is None else pools[rank].clone() for pools in checkpoint["pools"]]
