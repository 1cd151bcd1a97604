"""Noise added to images, and taken away again: what tasks of diffusion share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from monai.networks.schedulers import DDIMScheduler, DDPMScheduler
from torch import Tensor

from medexp.seeding import derive

LEVELS = 4  # at which a validation looks at each case
Schedule = Literal["linear_beta", "scaled_linear_beta", "sigmoid_beta", "cosine"]
Prediction = Literal["epsilon", "sample", "v_prediction"]
Tell = Callable[
    [Tensor, Tensor], Tensor
]  # of noisy images (B, C, *spatial) and their levels (B,): what the network tells


class Denoising:
    """MONAI's schedulers, for training and for samples.

    timesteps, schedule: levels of noise, and how it grows. prediction: what the network tells: the noise (epsilon), the
    image (sample), or v_prediction between both (Salimans and Ho 2022, arXiv:2202.00512).
    sampler: ddpm (Ho et al. 2020, arXiv:2006.11239) goes through all levels and draws anew at each; ddim (Song et al. 2021,
    arXiv:2010.02502) through `steps` of them, and draws nothing.
    """

    def __init__(
        self, timesteps: int, schedule: Schedule, prediction: Prediction, sampler: Literal["ddim", "ddpm"], steps: int
    ) -> None:
        options: dict[str, Any] = {"schedule": schedule, "prediction_type": prediction}
        self.noising = DDPMScheduler(timesteps, **options)
        self.sampler: DDIMScheduler | DDPMScheduler = DDPMScheduler(timesteps, **options)
        if sampler == "ddim":
            # With MONAI's own offset, steps end beside the levels that the next ones take them to be at.
            self.sampler = DDIMScheduler(timesteps, steps_offset=timesteps // steps - 1, **options)
        self.sampler.set_timesteps(steps if sampler == "ddim" else timesteps)

    def noisy(self, image: Tensor, noise: Tensor, levels: Tensor) -> Tensor:
        return self.noising.add_noise(image, noise, levels)

    def wanted(self, image: Tensor, noise: Tensor, levels: Tensor) -> Tensor:
        """What the network is to tell."""
        if self.noising.prediction_type == "v_prediction":
            return self.noising.get_velocity(image, noise, levels)
        return noise if self.noising.prediction_type == "epsilon" else image

    def training_draws(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Levels (B,) and noise, by torch's own generators."""
        levels = torch.randint(self.noising.num_train_timesteps, (len(image),), device=image.device)
        return levels, torch.randn_like(image)

    def fixed_draws(self, image: Tensor, names: Sequence[str], seed: int) -> tuple[Tensor, Tensor]:
        """LEVELS levels, evenly spread, and noises for each image, by its name alone: (B * LEVELS,) and (B * LEVELS, C,
        *spatial)."""
        levels, noises = [], []
        for name in names:
            generator = torch.Generator().manual_seed(derive(seed, "validation", name))
            first = float(torch.rand((), generator=generator))
            places = (torch.arange(LEVELS) + first) / LEVELS * self.noising.num_train_timesteps
            levels.append(places.long())
            noises.append(torch.randn((LEVELS, *image.shape[1:]), generator=generator))
        return torch.cat(levels).to(image.device), torch.cat(noises).to(image)

    def denoised(self, tell: Tell, image: Tensor, limits: Tensor, sources: Sequence[torch.Generator] = ()) -> Tensor:
        """Noise (B, C, *spatial) to images within the limits (least, greatest). sources: of what ddpm draws on the way, on
        the CPU, one an image."""
        self.sampler.clip_sample_values = limits.tolist()
        for level in self.sampler.timesteps.tolist():
            told = tell(image, torch.full((len(image),), level, device=image.device))
            if isinstance(self.sampler, DDIMScheduler):
                image = self.sampler.step(told, level, image)[0]
                continue
            parts = zip(told.cpu().split(1), image.cpu().split(1), sources, strict=True)
            stepped = [self.sampler.step(one, level, at, source)[0] for one, at, source in parts]
            image = torch.cat(stepped).to(told.device)
        return image


def repeated(values: Tensor) -> Tensor:
    """(B, ...) as `fixed_draws` looks at them: (B * LEVELS, ...)."""
    return values.repeat_interleave(LEVELS, dim=0)
