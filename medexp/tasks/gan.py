"""Images from noise by a generator and a discriminator, with a class or without."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from medexp.losses.adversarial import gradient_penalty
from medexp.seeding import derive
from medexp.tasks.adversarial import Adversarial
from medexp.tasks.base import Batch, Step
from medexp.tasks.measured import Measured, Split


class Made(NamedTuple):
    """Images of a training batch, real and made, (B, C, *spatial) from -1 to 1, and their classes (B,), if any."""

    real: Tensor
    fake: Tensor
    labels: Tensor | None


class Gan(Adversarial):
    """A network of noise whose images pass for real (Goodfellow et al. 2014, arXiv:1406.2661).

    net: `net(noise)` of (B, latent), or `net(noise, class_labels)` where there are `classes`. The discriminator sees a class
    as planes of 0 and 1 behind the image. loss: medexp.losses.adversarial.Hinge or Wasserstein, or MONAI's
    PatchAdversarialLoss. gradient_penalty: weight of the penalty, which Wasserstein needs (10). critic_steps: of the
    discriminator with each batch, each against images of new noise.

    Images go from -1 to 1, the least and the greatest value of the training split. val/loss is the discriminator's on
    images that it has not learnt from, without the penalty: well above train/discriminator, it knows the training images
    by heart. Validation draws its noise by the names of the cases.
    """

    def __init__(
        self,
        spatial_dims: int,
        latent: int = 64,
        classes: int | None = None,
        gradient_penalty: float = 0.0,
        critic_steps: int = 1,
        target: Literal["generation", "generation_by_class"] = "generation",
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        self.latent, self.classes, self.penalty, self.target = latent, classes, gradient_penalty, target
        self.critic_steps = critic_steps
        self.measured = Measured(spatial_dims)

    @property
    def limits(self) -> Tensor:
        """Least and greatest prepared value of a sample."""
        return self.measured.limits

    def learn(self, split: Split) -> None:
        """Takes size and limits from the training split, before training. Raises UserError."""
        self.measured.learn(split)

    def step(self, batch: Batch) -> Step:
        made = self._made(batch)
        if self.training:
            return Step(self.adversarial_loss(batch, made), made.fake, made.real)
        return Step(self._told(made), made.fake, self.probabilities(made.real))

    def made(self, batch: Batch) -> tuple[Step, Made]:
        made = self._made(batch)
        return Step(made.fake.new_zeros(()), made.fake, made.real), made

    def _made(self, batch: Batch) -> Made:
        labels = None if self.classes is None else batch["target"].flatten()
        real = self.scaled(batch["image"])
        noise = self._noise(len(real)) if self.training else self._noise_of(batch["case_id"])
        return Made(real, self.drawn(noise, labels), labels)

    def drawn(self, noise: Tensor, labels: Tensor | None) -> Tensor:
        """(B, C, *spatial) from -1 to 1, float32."""
        found: Tensor = self.net(noise, labels) if labels is not None else self.net(noise)
        return found.float().tanh()

    def discriminator_loss(self, batch: Batch, made: Made, turn: int) -> Tensor:
        if turn > 0:
            with torch.no_grad():
                made = made._replace(fake=self.drawn(self._noise(len(made.real)), made.labels))
        made = made._replace(fake=made.fake.detach())
        loss = self._told(made)
        if not self.penalty:
            return loss
        share = torch.rand(len(made.real), device=self.device)
        with torch.autocast(self.device.type, enabled=False):  # gradients of gradients are small
            found = gradient_penalty(self._judge(made.labels), made.real, made.fake, share)
        return loss + self.penalty * found

    def adversarial_loss(self, batch: Batch, made: Made) -> Tensor:
        return self.real_or_not(self._judge(made.labels)(made.fake), True, for_discriminator=False)

    def _told(self, made: Made) -> Tensor:
        judge = self._judge(made.labels)
        real = self.real_or_not(judge(made.real), True, for_discriminator=True)
        return real + self.real_or_not(judge(made.fake), False, for_discriminator=True)

    def _judge(self, labels: Tensor | None) -> Callable[[Tensor], Any]:
        """The discriminator of images of these classes."""
        if labels is None:
            return self.judged
        planes = F.one_hot(labels, self.classes or 1).float()

        def judge(images: Tensor) -> Any:
            ends = (*planes.shape, *[1] * (images.ndim - 2))
            return self.judged(torch.cat([images, planes.reshape(ends).expand(-1, -1, *images.shape[2:])], dim=1))

        return judge

    def scaled(self, image: Tensor) -> Tensor:
        """Prepared to -1 to 1, and of the size of the samples."""
        low, high = self.limits
        return (self.measured.cut(image) - low) / (high - low).clamp(min=1e-6) * 2 - 1

    def probabilities(self, scores: Tensor) -> Tensor:
        low, high = self.limits
        return (scores.float() + 1) / 2 * (high - low) + low

    def _noise(self, count: int) -> Tensor:
        """(B, latent), by the generators that `on_train_batch_start` has seeded."""
        return torch.randn(count, self.latent, device=self.device)

    def _noise_of(self, case_ids: list[str]) -> Tensor:
        return self._each([derive(self.seed, "validation", case_id) for case_id in case_ids])

    def _each(self, seeds: list[int]) -> Tensor:
        """(B, latent), of a seed each."""
        drawn = [torch.randn(1, self.latent, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        return torch.cat(drawn).to(self.device)

    @torch.no_grad()
    def generate(self, count: int, seed: int, classes: Tensor | None = None) -> Tensor:
        """(count, C, *spatial) in prepared intensities, float32, on the CPU; sample i depends on (seed, i) alone. classes:
        (count,), what each is to be of; None, where the task has some: each in turn."""
        noise = self._each([derive(seed, "sample", index) for index in range(count)])
        if self.classes is not None:
            classes = torch.arange(count) % self.classes if classes is None else classes
            classes = classes.to(self.device)
        was = self.training
        self.eval()
        images = self.probabilities(self.drawn(noise, None if self.classes is None else classes))
        self.train(was)
        return images.cpu()
