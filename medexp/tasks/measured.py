"""Size and intensities of the training images, for tasks that make images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from medexp.errors import UserError
from medexp.tasks.base import Batch
from medexp.transforms.fitting import fitted


class Split(Protocol):
    """Of a data module: its training cases as they are, and the size that training sees of them."""

    patch_size: Sequence[int] | None

    def training_cases(self) -> Iterable[Batch]: ...


class Measured(nn.Module):
    """Held in a checkpoint. shape: voxels that training sees along each axis; moments: mean and standard deviation of the
    training images; limits: their least and greatest value."""

    shape: Tensor
    moments: Tensor
    limits: Tensor

    def __init__(self, spatial_dims: int) -> None:
        super().__init__()
        self.register_buffer("shape", torch.zeros(spatial_dims, dtype=torch.long))
        self.register_buffer("moments", torch.tensor([0.0, 1.0]))
        self.register_buffer("limits", torch.tensor([-1.0, 1.0]))

    def learn(self, split: Split) -> None:
        """Raises UserError where training sees images whole and they have several sizes."""
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

    def standardised(self, image: Tensor) -> Tensor:
        mean, deviation = self.moments
        return (image - mean) / deviation

    def back(self, image: Tensor) -> Tensor:
        """Of what `standardised` gave."""
        mean, deviation = self.moments
        return image * deviation + mean

    def cut(self, image: Tensor) -> Tensor:
        """(B, C, *spatial) to `shape`, around its middle."""
        return fitted(image, self.shape.tolist())
