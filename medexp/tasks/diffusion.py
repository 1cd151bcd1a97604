"""Images from noise: denoising diffusion, with a class or without."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor

from medexp.inferers.denoising import Denoising, Prediction, Schedule, repeated
from medexp.models.latents import Latents
from medexp.seeding import derive
from medexp.tasks.base import Batch, Step, Task
from medexp.tasks.measured import Measured, Split


class Encoded:
    """Training cases as an autoencoder sees them."""

    patch_size: Sequence[int] | None = None

    def __init__(self, split: Split, images: Measured, autoencoder: Latents) -> None:
        self.split, self.images, self.autoencoder = split, images, autoencoder

    def training_cases(self) -> Iterator[Batch]:
        for batch in self.split.training_cases():
            yield {"image": self.autoencoder.encode(self.images.cut(batch["image"].float()))}


class Diffusion(Task):
    """A network that is shown images (B, C, *spatial) in noise and learns to tell the noise (Ho et al. 2020, arXiv:2006.11239).

    net: `net(image, timesteps=(B,))`, MONAI's DiffusionModelUNet or one of that signature; also `class_labels=(B,)` where
    the task has classes. classes: embeddings that it has, one a class and the last for none of them; None: no classes.
    drop_class: share of the training cases that learn without their class (classifier-free guidance, Ho and Salimans 2022,
    arXiv:2207.12598). guidance: how much more than its own class a sample is drawn to; 1: the class alone.
    timesteps, schedule, prediction, sampler, steps: see medexp/inferers/denoising.py.
    autoencoder: in whose latent noise is added and taken away (Rombach et al. 2022, arXiv:2112.10752); part of a checkpoint.

    Images, or latents, are standardised by the mean and deviation of the training split, and samples kept within its range.
    Validation has noise of each case's own, at several levels: one epoch is comparable with the next.
    """

    def __init__(
        self,
        spatial_dims: int,
        classes: int | None = None,
        timesteps: int = 1000,
        schedule: Schedule = "cosine",
        prediction: Prediction = "v_prediction",
        sampler: Literal["ddim", "ddpm"] = "ddim",
        steps: int = 50,
        drop_class: float = 0.1,
        guidance: float = 1.0,
        autoencoder: Latents | None = None,
        target: Literal["generation", "generation_by_class"] = "generation",
        **shared: object,
    ) -> None:
        super().__init__(**shared)  # type: ignore[arg-type]  # what every task takes
        self.classes, self.drop_class, self.guidance = classes, drop_class, guidance
        self.denoising = Denoising(timesteps, schedule, prediction, sampler, steps)
        self.measured = Measured(spatial_dims)  # of what the network sees
        self.autoencoder = autoencoder
        self.images = self.measured if autoencoder is None else Measured(spatial_dims)

    @property
    def limits(self) -> Tensor:
        """Least and greatest prepared value of a sample."""
        return self.images.limits

    def learn(self, split: Split) -> None:
        """Takes size and intensities from the training split, before training. Raises UserError."""
        self.images.learn(split)
        if self.autoencoder is not None:
            self.measured.learn(Encoded(split, self.images, self.autoencoder))

    def step(self, batch: Batch) -> Step:
        image, labels = self.images.cut(batch["image"]), self.labels(batch)
        image = self.measured.standardised(image if self.autoencoder is None else self.autoencoder.encode(image))
        if self.training:
            levels, noise = self.denoising.training_draws(image)
        else:
            levels, noise = self.denoising.fixed_draws(image, batch["case_id"], self.seed)
            image, labels = repeated(image), None if labels is None else repeated(labels)
        scores = self.told(self.denoising.noisy(image, noise, levels), levels, labels)
        wanted = self.denoising.wanted(image, noise, levels)
        return Step(self.loss(scores, wanted), scores, wanted)

    def told(self, noisy: Tensor, levels: Tensor, labels: Tensor | None) -> Tensor:
        """What the network makes of noisy images (B, C, *spatial), float32."""
        given = {} if labels is None else {"class_labels": labels}
        scores: Tensor = self.net(noisy, timesteps=levels, **given)
        return scores.float()

    def labels(self, batch: Batch) -> Tensor | None:
        """(B,), of some training cases that of none."""
        if self.classes is None:
            return None
        labels: Tensor = batch["target"].flatten()
        if not self.training:
            return labels
        dropped = torch.rand(len(labels), device=labels.device) < self.drop_class
        return labels.masked_fill(dropped, self.classes - 1)

    def probabilities(self, scores: Tensor) -> Tensor:
        return scores.float()

    @torch.no_grad()
    def generate(self, count: int, seed: int, classes: Tensor | None = None) -> Tensor:
        """(count, C, *spatial) in prepared intensities, float32, on the CPU; sample i depends on (seed, i) alone. classes:
        (count,), what each is to be of; None: of none."""
        sources = [torch.Generator().manual_seed(derive(seed, "sample", index)) for index in range(count)]
        size = (1, self.out_channels, *self.measured.shape.tolist())
        noise = torch.cat([torch.randn(size, generator=source) for source in sources]).to(self.device)
        labels = None
        if self.classes is not None:
            labels = (torch.full((count,), self.classes - 1) if classes is None else classes).to(self.device)
        was = self.training
        self.eval()
        limits = self.measured.standardised(self.measured.limits)
        made = self.denoising.denoised(
            lambda noisy, levels: self._guided(noisy, levels, labels), noise, limits, sources
        )
        self.train(was)
        made = self.measured.back(made)
        return (made if self.autoencoder is None else self.autoencoder.decode(made)).float().cpu()

    def _guided(self, noisy: Tensor, levels: Tensor, labels: Tensor | None) -> Tensor:
        scores = self.told(noisy, levels, labels)
        if labels is None or self.guidance == 1:
            return scores
        without = self.told(noisy, levels, torch.full_like(labels, (self.classes or 1) - 1))
        return without + self.guidance * (scores - without)
