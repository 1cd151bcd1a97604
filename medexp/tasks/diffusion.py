"""Images from noise: denoising diffusion, with a class or without."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, Protocol

import torch
from monai.networks.schedulers import DDIMScheduler, DDPMScheduler
from torch import Tensor

from medexp.errors import UserError
from medexp.seeding import derive
from medexp.tasks.base import Batch, Step, Task
from medexp.transforms.fitting import fitted

LEVELS = 4  # noise levels at which the validation loss looks at each case


class Split(Protocol):
    """Of a data module: its training cases as they are, and the size that training sees of them."""

    patch_size: Sequence[int] | None

    def training_cases(self) -> Iterable[Batch]: ...


class Diffusion(Task):
    """A network that is shown images (B, C, *spatial) in noise and learns to tell the noise (Ho et al. 2020, arXiv:2006.11239).

    net: `net(image, timesteps=(B,))`, MONAI's DiffusionModelUNet or one of that signature; also `class_labels=(B,)` where
    the task has classes. classes: embeddings that it has, one a class and the last for none of them; None: no classes.
    drop_class: share of the training cases that learn without their class (classifier-free guidance, Ho and Salimans 2022,
    arXiv:2207.12598). guidance: how much more than its own class a sample is drawn to; 1: the class alone.
    timesteps, schedule: levels of noise, and how it grows (linear_beta, scaled_linear_beta, sigmoid_beta, cosine).
    prediction: what the network tells: the noise (epsilon), the image (sample), or v_prediction between both (Salimans and
    Ho 2022, arXiv:2202.00512).
    sampler: ddpm goes through all levels and draws anew at each; ddim (Song et al. 2021, arXiv:2010.02502) through `steps`
    of them, drawing once.

    Images are standardised by the mean and deviation of the training split, and samples kept within its range.
    Validation has noise of each case's own, at LEVELS levels: one epoch is comparable with the next.
    """

    shape: Tensor
    moments: Tensor
    limits: Tensor

    def __init__(
        self,
        spatial_dims: int,
        classes: int | None = None,
        timesteps: int = 1000,
        schedule: Literal["linear_beta", "scaled_linear_beta", "sigmoid_beta", "cosine"] = "cosine",
        prediction: Literal["epsilon", "sample", "v_prediction"] = "v_prediction",
        sampler: Literal["ddim", "ddpm"] = "ddim",
        steps: int = 50,
        drop_class: float = 0.1,
        guidance: float = 1.0,
        target: Literal["generation", "generation_by_class"] = "generation",
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        self.classes, self.drop_class, self.guidance = classes, drop_class, guidance
        options: dict[str, Any] = {"schedule": schedule, "prediction_type": prediction}
        self.noising = DDPMScheduler(timesteps, **options)
        # MONAI's default offset leaves the steps of DDIM beside the levels that it takes them to be at.
        self.sampler: DDIMScheduler | DDPMScheduler = DDPMScheduler(timesteps, **options)
        if sampler == "ddim":
            self.sampler = DDIMScheduler(timesteps, steps_offset=timesteps // steps - 1, **options)
        self.sampler.set_timesteps(steps if sampler == "ddim" else timesteps)
        self.register_buffer("shape", torch.zeros(spatial_dims, dtype=torch.long))  # of samples, in voxels
        self.register_buffer("moments", torch.tensor([0.0, 1.0]))  # mean and standard deviation of the training split
        self.register_buffer("limits", torch.tensor([-1.0, 1.0]))  # its least and greatest value

    def learn(self, split: Split) -> None:
        """Takes size and intensities from the training split, before training. Raises UserError where sizes differ."""
        sizes, values = set(), torch.zeros(3, dtype=torch.float64)
        low, high = torch.inf, -torch.inf
        for batch in split.training_cases():
            image = batch["image"].double()
            sizes.add(tuple(image.shape[2:]))
            values += torch.stack([torch.tensor(float(image.numel())), image.sum(), image.square().sum()])
            low, high = min(low, float(image.min())), max(high, float(image.max()))
        if split.patch_size is None and len(sizes) > 1:
            seen = ", ".join(" x ".join(map(str, size)) for size in sorted(sizes)[:3])
            raise UserError(f"dataset.patch_size: null, but training images have several sizes ({seen}); give one size")
        count, total, squares = values.tolist()
        mean = total / count
        deviation = max(squares / count - mean**2, 0.0) ** 0.5
        self.shape.copy_(torch.tensor(next(iter(sizes)) if split.patch_size is None else tuple(split.patch_size)))
        self.moments.copy_(torch.tensor([mean, deviation or 1.0]))
        self.limits.copy_(torch.tensor([low, high]))

    def step(self, batch: Batch) -> Step:
        image, labels = self.scaled(batch["image"]), self.labels(batch)
        levels, noise = (
            self._training_draws(image) if self.training else self._validation_draws(image, batch["case_id"])
        )
        if not self.training:
            image = image.repeat_interleave(LEVELS, dim=0)
            labels = None if labels is None else labels.repeat_interleave(LEVELS, dim=0)
        noisy = self.noising.add_noise(image, noise, levels)
        scores = self.told(noisy, levels, labels)
        wanted = {"epsilon": noise, "sample": image}.get(self.noising.prediction_type)
        wanted = self.noising.get_velocity(image, noise, levels) if wanted is None else wanted
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

    def scaled(self, image: Tensor) -> Tensor:
        """Standardised, and of the size of the samples."""
        mean, deviation = self.moments
        return (fitted(image, self.shape.tolist()) - mean) / deviation

    def _training_draws(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Levels (B,) and noise, by the generators that `on_train_batch_start` has seeded."""
        levels = torch.randint(self.noising.num_train_timesteps, (len(image),), device=image.device)
        return levels, torch.randn_like(image)

    def _validation_draws(self, image: Tensor, case_ids: list[str]) -> tuple[Tensor, Tensor]:
        """LEVELS levels, evenly spread, and noises of each case, by its name alone."""
        levels, noises = [], []
        for case_id in case_ids:
            generator = torch.Generator().manual_seed(derive(self.seed, "validation", case_id))
            first = float(torch.rand((), generator=generator))
            places = (torch.arange(LEVELS) + first) / LEVELS * self.noising.num_train_timesteps
            levels.append(places.long())
            noises.append(torch.randn((LEVELS, *image.shape[1:]), generator=generator))
        return torch.cat(levels).to(image.device), torch.cat(noises).to(image)

    def probabilities(self, scores: Tensor) -> Tensor:
        return scores.float()

    @torch.no_grad()
    def generate(self, count: int, seed: int, classes: Tensor | None = None) -> Tensor:
        """(count, C, *spatial) in prepared intensities, float32, on the CPU; sample i depends on (seed, i) alone. classes:
        (count,), what each is to be of; None: of none."""
        sources = [torch.Generator().manual_seed(derive(seed, "sample", index)) for index in range(count)]
        size = (1, self.out_channels, *self.shape.tolist())
        image = torch.cat([torch.randn(size, generator=source) for source in sources]).to(self.device)
        if self.classes is not None:
            classes = torch.full((count,), self.classes - 1) if classes is None else classes
            classes = classes.to(self.device)
        was, mean, deviation = self.training, *self.moments
        self.eval()
        image = self.denoised(image, None if self.classes is None else classes, sources)
        self.train(was)
        return (image * deviation + mean).float().cpu()

    def denoised(self, image: Tensor, labels: Tensor | None, sources: list[torch.Generator]) -> Tensor:
        """Noise (B, C, *spatial) to standardised images. sources: of what is drawn on the way, one a sample."""
        mean, deviation = self.moments
        self.sampler.clip_sample_values = ((self.limits - mean) / deviation).tolist()
        for level in self.sampler.timesteps.tolist():
            levels = torch.full((len(image),), level, device=self.device)
            scores = self.told(image, levels, labels)
            if labels is not None and self.guidance != 1:
                without = self.told(image, levels, torch.full_like(labels, (self.classes or 1) - 1))
                scores = without + self.guidance * (scores - without)
            image = self._stepped(scores, level, image, sources)
        return image

    def _stepped(self, scores: Tensor, level: int, image: Tensor, sources: list[torch.Generator]) -> Tensor:
        """One step of the sampler; where it draws, each sample from its own generator, on the CPU."""
        if isinstance(self.sampler, DDIMScheduler):
            return self.sampler.step(scores, level, image)[0]
        parts = zip(scores.cpu().split(1), image.cpu().split(1), sources, strict=True)
        return torch.cat([self.sampler.step(one, level, at, source)[0] for one, at, source in parts]).to(self.device)
