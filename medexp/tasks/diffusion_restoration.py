"""Images from degraded ones by diffusion: what lies below the noise, given what is left of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from medexp.inferers.denoising import Denoising, Prediction, Schedule, repeated
from medexp.seeding import derive
from medexp.tasks.base import Batch, Step, Task
from medexp.tasks.measured import Measured, Split


class DiffusionRestoration(Task):
    """A network that is shown the noisy image and, in further channels, the degraded one (Saharia et al. 2021,
    arXiv:2104.07636), and so draws from what the image may have been rather than give its mean.

    net: `net(channels, timesteps=(B,))`, of (B, C + inputs, *spatial). timesteps, schedule, prediction, sampler, steps: see
    medexp/inferers/denoising.py. samples: whose mean is given; more of them raise PSNR and lose detail.

    Every image begins from the same noise, f(seed, sample): neither batches nor windows change what comes out.
    """

    def __init__(
        self,
        spatial_dims: int,
        timesteps: int = 1000,
        schedule: Schedule = "cosine",
        prediction: Prediction = "v_prediction",
        sampler: Literal["ddim"] = "ddim",
        steps: int = 20,
        samples: int = 1,
        target: str = "image",
        **shared: object,
    ) -> None:
        super().__init__(**shared)  # type: ignore[arg-type]  # what every task takes
        self.samples, self.target = samples, target
        self.denoising = Denoising(timesteps, schedule, prediction, sampler, steps)
        self.measured = Measured(spatial_dims)

    def learn(self, split: Split) -> None:
        """Takes size and intensities from the training split, before training. Raises UserError."""
        self.measured.learn(split)

    def step(self, batch: Batch) -> Step:
        measured, pair = self.measured, (batch["image"], batch["reference"])
        given, image = (measured.standardised(measured.cut(one)) for one in pair)
        if self.training:
            levels, noise = self.denoising.training_draws(image)
        else:
            levels, noise = self.denoising.fixed_draws(image, batch["case_id"], self.seed)
            given, image = repeated(given), repeated(image)
        scores = self.told(self.denoising.noisy(image, noise, levels), levels, given)
        wanted = self.denoising.wanted(image, noise, levels)
        return Step(self.loss(scores, wanted), scores, wanted)

    def told(self, noisy: Tensor, levels: Tensor, given: Tensor) -> Tensor:
        scores: Tensor = self.net(torch.cat([noisy, given], dim=1), timesteps=levels)
        return scores.float()

    def network(self, batch: Batch) -> Callable[[Tensor], Tensor]:
        """Degraded images or windows (B, inputs, *spatial) to restored ones."""
        return self.restored

    @torch.no_grad()
    def restored(self, image: Tensor) -> Tensor:
        """The mean of the samples (B, C, *spatial), in prepared intensities."""
        given, limits = self.measured.standardised(image), self.measured.standardised(self.measured.limits)
        made = []
        for sample in range(self.samples):
            source = torch.Generator().manual_seed(derive(self.seed, "restoration", sample))
            noise = torch.randn((1, self.out_channels, *image.shape[2:]), generator=source)
            noise = noise.expand(len(image), *noise.shape[1:]).to(image.device)
            made.append(self.denoising.denoised(lambda noisy, levels: self.told(noisy, levels, given), noise, limits))
        return self.measured.back(torch.stack(made).mean(dim=0))

    def probabilities(self, scores: Tensor) -> Tensor:
        return scores.float()
