"""Normalisations of a whole image that MONAI lacks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from monai.transforms import NormalizeIntensity
from torch import Tensor

from medexp.errors import UserError


class ZScore(NormalizeIntensity):
    """Each channel by its own mean and standard deviation; `nonzero`: by those of its voxels that are not 0, and 0 stays 0."""

    def __init__(self, nonzero: bool = False) -> None:
        super().__init__(nonzero=nonzero, channel_wise=True)


@dataclass(frozen=True)
class ClipZScore:
    """Clips a channel to [low, high], then takes away `mean` and divides by `std`: CT after nnU-Net (Isensee et al. 2021).

    A value a channel each. A channel of None in all four is standardised by its own mean and standard deviation, as for
    the PET of a PET/CT. (For one channel, monai.transforms.ScaleIntensityRange can say the same less readably.)
    Image: (C, *spatial) in, float32 of that shape out. Raises UserError for lists that fit neither each other nor the image.
    """

    low: Sequence[float | None]
    high: Sequence[float | None]
    mean: Sequence[float | None]
    std: Sequence[float | None]

    def __post_init__(self) -> None:
        given = {"low": self.low, "high": self.high, "mean": self.mean, "std": self.std}
        if len({len(values) for values in given.values()}) > 1:
            seen = ", ".join(f"{key} {len(values)}" for key, values in given.items())
            raise UserError(f"normalize: ClipZScore wants a value a channel in each list, got {seen}")
        for index, (low, high, mean, std) in enumerate(zip(*given.values(), strict=True)):
            if low is None or high is None or mean is None or std is None:
                if any(value is not None for value in (low, high, mean, std)):
                    raise UserError(f"normalize: channel {index} has some of low, high, mean, std; give all or none")
            elif not low < high or not std > 0:
                seen = f"low {low}, high {high}, std {std}"
                raise UserError(f"normalize: channel {index} has {seen}; low must lie below high, std above 0")

    def __call__(self, image: Tensor) -> Tensor:
        if len(image) != len(self.low):
            raise UserError(f"normalize: ClipZScore has values of {len(self.low)} channels, the image has {len(image)}")
        settings = zip(image.float(), self.low, self.high, self.mean, self.std, strict=True)
        return torch.stack([_one(channel, *values) for channel, *values in settings])


def _one(channel: Tensor, low: float | None, high: float | None, mean: float | None, std: float | None) -> Tensor:
    if low is None or high is None or mean is None or std is None:
        spread = channel.std(unbiased=False)
        return (channel - channel.mean()) / (spread if spread > 0 else 1.0)
    return (channel.clamp(low, high) - mean) / std
