"""Random changes of intensity: a list of MONAI's transforms that act on the image and never on the label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import monai.transforms as mt

from medexp.transforms.bounds import interval, number, probability


def noise(chance: float, std: float) -> list[Any]:
    """Gaussian noise of a standard deviation drawn from 0 to `std`, in intensity units."""
    std = number("noise_std", std, 0, 10)
    return [mt.RandGaussianNoised("image", prob=chance, std=std)] if probability("noise", chance) and std else []


def blur(chance: float, sigma: Sequence[float]) -> list[Any]:
    """Gaussian blur with a sigma drawn per axis, in voxels."""
    sigma = interval("blur_sigma", sigma, 0.1, 10)
    return [mt.RandGaussianSmoothd("image", sigma, sigma, sigma, prob=chance)] if probability("blur", chance) else []


def brightness(chance: float, offset: float) -> list[Any]:
    """One offset for the whole image, up to `offset` either way, in intensity units."""
    offset = number("brightness_range", offset, 0, 10)
    on = probability("brightness", chance) and offset
    return [mt.RandShiftIntensityd("image", offsets=offset, prob=chance)] if on else []


def contrast(chance: float, factor: float) -> list[Any]:
    """Distances from the mean times 1 - `factor` to 1 + `factor`, kept within the image's own range of values."""
    factor = number("contrast_range", factor, 0, 1)
    on = probability("contrast", chance) and factor
    return [mt.RandScaleIntensityFixedMeand("image", factors=factor, preserve_range=True, prob=chance)] if on else []


def low_resolution(chance: float, zoom: Sequence[float], spatial_dims: int) -> list[Any]:
    """Down to a fraction of the size (nearest) and up again (linear), as a coarser scan would look."""
    zoom = interval("low_resolution_zoom", zoom, 0.05, 1)
    if not probability("low_resolution", chance) or zoom == (1, 1):
        return []
    linear = "bilinear" if spatial_dims == 2 else "trilinear"
    # nearest-exact: plain "nearest" reads the first voxel of each block, which moves the image against its label
    transform = mt.RandSimulateLowResolutiond(
        "image", prob=chance, zoom_range=zoom, downsample_mode="nearest-exact", upsample_mode=linear
    )
    return [transform]


def gamma(chance: float, exponents: Sequence[float]) -> list[Any]:
    """A power of the intensities scaled to 0..1; mean and standard deviation are kept."""
    exponents = interval("gamma_range", exponents, 0.1, 10)
    on = probability("gamma", chance) and exponents != (1, 1)
    return [mt.RandAdjustContrastd("image", prob=chance, gamma=exponents, retain_stats=True)] if on else []
