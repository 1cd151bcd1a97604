"""Clean images made worse on purpose: pairs for denoising, deblurring and super-resolution, and pairs of modalities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import GaussianSmooth
from scipy.ndimage import zoom
from torch import Tensor

from medexp.errors import UserError, nearest
from medexp.transforms.bounds import interval

KINDS = ("gaussian", "rician", "poisson", "low_dose")
LEAST = 8  # voxels that may always become one, also where a stack has fewer slices
REFERENCE = "reference"  # key of what the network is to give


class Degradation:
    """`Degradation(...)(item, seed)`: item["reference"] is the item's image, item["image"] what became of it.

    Images are (C, *spatial) floats; every draw comes from `seed`. In order:

    - inputs, outputs: channels that the network sees, and that it is to give; None: all of them. Different ones make a
      translation from modality to modality.
    - blur: [smallest, largest] standard deviation in voxels of a Gaussian.
    - factor: how many voxels of each axis become one (their mean, as a larger voxel measures it). The image comes back on
      its own grid by cubic splines: a network restores what these miss. [1, 1, 4] are thick slices of a volume.
    - noise, noise_std: "gaussian" (added), "rician" (magnitude images of MR: of a signal with noise in both channels,
      Gudbjartsson & Patz 1995, doi:10.1002/mrm.1910340618), "poisson" (counts, as in nuclear medicine) or "low_dose" (CT of
      few photons: what filtered back projection makes of them), of a standard deviation [smallest, largest] as a share of
      the image's range: of its brightest voxel where it is Poisson.
    - unpaired: a training item's reference is of another patient's image (see medexp/data/unpaired.py).

    Raises UserError, naming degradation.<key>, for a value out of range, and for an image that a factor or channel does
    not suit.
    """

    def __init__(
        self,
        inputs: Sequence[int] | None = None,
        outputs: Sequence[int] | None = None,
        blur: Sequence[float] | None = None,
        factor: int | Sequence[int] | None = None,
        noise: Literal["gaussian", "rician", "poisson", "low_dose"] | None = None,
        noise_std: Sequence[float] = (0.05, 0.05),
        unpaired: bool = False,
    ) -> None:
        if noise is not None and noise not in KINDS:
            hint = nearest(noise, list(KINDS)) or ";"
            raise UserError(f"degradation.noise: '{noise}'{hint} allowed: {', '.join(KINDS)}, null")
        if unpaired and (inputs is None or outputs is None or set(inputs) & set(outputs)):
            raise UserError(
                "degradation.unpaired: needs other channels in than out; give degradation.inputs and outputs"
            )
        self.unpaired = unpaired
        self.inputs, self.outputs = _channels("inputs", inputs), _channels("outputs", outputs)
        self.blur = None if blur is None else interval("blur", blur, 0, 20, "degradation")
        self.factor = factor
        factors = [factor] if isinstance(factor, int) else factor
        if factors is not None and (not factors or min(factors) < 1):
            what = "is below 1" if factors else "names no axis"
            raise UserError(f"degradation.factor: {factor} {what}; give voxels that become one, e.g. 2 or [1, 1, 4]")
        self.noise, self.noise_std = noise, interval("noise_std", noise_std, 0, 1, "degradation")

    def __call__(self, item: Mapping[str, Any], seed: int) -> dict[str, Any]:
        """A copy of `item` with both images."""
        image = item["image"].float()
        reference = self.chosen(image, self.outputs, "outputs")
        return {**item, "image": self.worse(self.chosen(image, self.inputs, "inputs"), seed), REFERENCE: reference}

    def given(self, item: Mapping[str, Any], coarse: bool = False) -> dict[str, Any]:
        """A copy of an item that is to be restored as it is: of its image the channels that the network sees. coarse: its
        voxels are those of the scanner, `factor` times as large as what the network gives; it comes on that finer grid."""
        image = self.chosen(item["image"], self.inputs).float()
        if coarse and self.factor is not None:
            image = torch.stack([finer(channel, self._factors(channel)) for channel in image])
        return {**item, "image": image}

    def chosen(self, image: Tensor, channels: Sequence[int] | None, key: str = "inputs") -> Tensor:
        """These channels of an image."""
        if channels is None:
            return image
        if max(channels) >= len(image):
            raise UserError(f"degradation.{key}: {list(channels)}, but the image has {len(image)} channels (from 0)")
        return image[list(channels)]

    def worse(self, image: Tensor, seed: int) -> Tensor:
        """(C, *spatial), degraded."""
        rng = np.random.default_rng(seed)
        if self.blur is not None:
            smooth = GaussianSmooth(sigma=float(rng.uniform(*self.blur)))(image)
            image = smooth.as_tensor() if isinstance(smooth, MetaTensor) else torch.as_tensor(smooth)
        if self.factor is not None:
            image = torch.stack([coarse(channel, self._factors(channel)) for channel in image])
        if self.noise is not None:
            image = torch.stack([noisy(channel, self.noise, rng.uniform(*self.noise_std), rng) for channel in image])
        return image.contiguous()

    def _factors(self, channel: Tensor) -> tuple[int, ...]:
        given = self.factor
        factors = (given,) * channel.ndim if isinstance(given, int) else tuple(given or ())
        if len(factors) != channel.ndim:
            raise UserError(f"degradation.factor: {list(factors)} for images of {channel.ndim} axes; give one for each")
        for axis, (factor, size) in enumerate(zip(factors, channel.shape, strict=True)):
            if factor > max(size, LEAST):
                what = f"{factor} is above the {size} voxels of axis {axis}"
                raise UserError(f"degradation.factor: {what}; give at most {size}, 2 to 4 are usual")
        return factors


def coarse(channel: Tensor, factors: Sequence[int]) -> Tensor:
    """(*spatial) measured with voxels `factors` times as large, brought back to its own grid by cubic splines.

    An axis that a factor does not divide is mirrored at its end for the last of the large voxels.
    """
    values = channel.numpy()
    shape = values.shape
    sizes = [-(-size // factor) for size, factor in zip(shape, factors, strict=True)]
    missing = [(0, size * factor - have) for size, factor, have in zip(sizes, factors, shape, strict=True)]
    values = np.pad(values, missing, mode="symmetric")
    for axis, (size, factor) in enumerate(zip(sizes, factors, strict=True)):
        if factor > 1:
            values = np.moveaxis(values, axis, 0)
            values = np.moveaxis(values.reshape(size, factor, *values.shape[1:]).mean(axis=1), 0, axis)
    return finer(torch.from_numpy(values), factors)[tuple(map(slice, shape))].contiguous()


def finer(channel: Tensor, factors: Sequence[int]) -> Tensor:
    """(*spatial) on a grid of `factors` times as many voxels over the same extent, by cubic splines."""
    scale = tuple(float(factor) for factor in factors)
    fine = zoom(channel.numpy(), scale, order=3, mode="nearest", grid_mode=True)
    return torch.from_numpy(np.ascontiguousarray(fine, dtype=np.float32))


def noisy(channel: Tensor, kind: str, std: float, rng: np.random.Generator) -> Tensor:
    """(*spatial) with noise; its range goes from nothing (its darkest voxel) to full signal."""
    low, high = float(channel.min()), float(channel.max())
    width = (high - low) or 1.0
    if kind == "gaussian":
        return channel + torch.from_numpy(rng.standard_normal(tuple(channel.shape), dtype=np.float32)) * (std * width)
    if kind == "low_dose":
        return channel + torch.from_numpy(projected(tuple(channel.shape), rng)) * (std * width)
    signal = (channel.numpy() - low) / width
    if kind == "rician":
        real, imaginary = rng.standard_normal((2, *signal.shape), dtype=np.float32) * std
        measured = np.hypot(signal + real, imaginary)
    else:
        measured = rng.poisson(signal / std**2) * std**2 if std > 0 else signal
    return torch.from_numpy(np.asarray(measured * width + low, dtype=np.float32))


def projected(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """(*spatial) noise of standard deviation 1 as filtered back projection leaves it in each slice along the last axis of a
    volume: its power grows with frequency, as the ramp filter does, up to a Hann window's end (Riederer 1978, Phys. Med.
    Biol. 23:446), so that it is streaky and has no coarse parts, other than white noise."""
    frequency = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.fftfreq(shape[1])[None])
    amplitude = np.sqrt(frequency) * np.cos(np.pi * np.minimum(frequency, 0.5)) ** 2
    amplitude /= np.sqrt(np.mean(amplitude**2)) or 1.0
    white = rng.standard_normal(shape, dtype=np.float32)
    if len(shape) == 3:
        amplitude = amplitude[..., None]
    return np.fft.ifft2(np.fft.fft2(white, axes=(0, 1)) * amplitude, axes=(0, 1)).real.astype(np.float32)


def _channels(key: str, channels: Sequence[int] | None) -> list[int] | None:
    if channels is not None and (not channels or min(channels) < 0 or len(set(channels)) < len(channels)):
        raise UserError(f"degradation.{key}: {list(channels)}; give channels of the data set once each, from 0")
    return None if channels is None else list(channels)
