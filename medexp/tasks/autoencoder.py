"""Images through a bottleneck and back: what comes back badly has not been seen in training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from medexp.tasks.base import Batch, Step, Task
from medexp.tasks.pairs import ImageScores


class Autoencoder(ImageScores, Task):
    """Reconstructions (B, C, *spatial) of images.

    net: gives a reconstruction, or that and the mean and deviation of a latent (MONAI's AutoencoderKL), or mean, logarithm
    of the variance and latent (VarAutoEncoder): then the divergence of the latent from a standard normal distribution
    is added to the loss, summed over its values and times `kl` (Kingma and Welling 2014, arXiv:1312.6114). val/loss is of
    the reconstruction alone, by the mean of the latent.
    target "anomaly": errors are held against label maps of what training has not seen; "anomaly_by_class": against the classes of
    images.
    """

    def __init__(
        self,
        kl: float = 1e-6,
        target: Literal["reconstruction", "anomaly", "anomaly_by_class"] = "reconstruction",
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        self.kl = kl

    def network(self, batch: Batch) -> Callable[[Tensor], Tensor]:
        return self.reconstructed

    def reconstructed(self, image: Tensor) -> Tensor:
        """(B, C, *spatial), by the mean of the latent."""
        if hasattr(self.net, "reconstruct"):
            made: Tensor = self.net.reconstruct(image)  # type: ignore[operator]
            return made
        return outputs(self.net(image))[0]

    def step(self, batch: Batch) -> Step:
        image, divergence = batch["image"], torch.zeros(())
        if self.training:
            scores, divergence = outputs(self.net(image))
        else:
            scores = self(batch)
        loss = self.loss(scores.float(), image)
        return Step(loss + self.kl * divergence if self.training and self.kl else loss, scores.float(), image)


def outputs(found: Any) -> tuple[Tensor, Tensor]:
    """Reconstruction (B, C, *spatial), and the divergence of its latent from a standard normal distribution, the mean over
    images (0 where the network has no distribution of latents)."""
    if isinstance(found, Tensor):
        return found, torch.zeros((), device=found.device)
    image, mean, spread = (part.float() for part in found[:3])
    log_variance = spread if len(found) == 4 else 2 * spread.clamp(min=1e-6).log()
    terms = mean.square() + log_variance.exp() - 1 - log_variance
    return image, 0.5 * terms.flatten(1).sum(dim=1).mean()
