"""Random moves of image and label together: crop, flip, turn, affine and elastic."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import monai.transforms as mt
import numpy as np
import torch

Tensors = dict[str, torch.Tensor]
KEYS = ("image", "label")
# Outside the field of view the edge goes on, in the image and the label alike. Zeros would not do: in a standardised
# image 0 is the mean, a grey that looks like tissue, while the label would call it background.
OUTSIDE = "border"
# nearest-exact: plain "nearest" reads the first voxel of each block, which moves labels against linear images
NEAREST = "nearest-exact"


@dataclass(frozen=True)
class Geometry:
    """Probabilities and ranges of `Augmentation`, checked; angles in radians, shifts as fractions of the size."""

    spatial_dims: int
    crop: float
    crop_scale: float
    flip: tuple[float, ...]
    turn: float
    affine: float
    rotate: tuple[float, ...]
    scale: float
    shift: float
    elastic: float
    elastic_shift: float
    elastic_spacing: float

    def __call__(self, tensors: Tensors, random: np.random.RandomState) -> Tensors:
        """Move `tensors` ("image" and perhaps "label", (C, *spatial)), with draws from `random`."""
        shape = tuple(tensors["image"].shape[1:])
        for transform in self._transforms(shape, random):
            if isinstance(transform, mt.Randomizable):
                transform.set_random_state(state=random)
            tensors = transform(tensors)
        return tensors

    def _transforms(self, shape: tuple[int, ...], random: np.random.RandomState) -> list[Any]:
        """What happens this time. Operations are drawn here, since their ranges depend on the shape of the item."""
        transforms: list[Any] = []
        if random.rand() < self.crop and self.crop_scale < 1:
            transforms += self._crop(shape)
        for axis, chance in enumerate(self.flip):
            if random.rand() < chance:
                transforms.append(mt.Flipd(KEYS, spatial_axis=axis, allow_missing_keys=True))
        for plane in combinations(range(self.spatial_dims), 2):
            if random.rand() < self.turn and shape[plane[0]] == shape[plane[1]]:
                transforms.append(mt.RandRotate90d(KEYS, prob=1.0, spatial_axes=plane, allow_missing_keys=True))
        moved = random.rand() < self.affine and any((*self.rotate, self.scale, self.shift))
        bent = random.rand() < self.elastic and self.elastic_shift > 0
        if moved or bent:
            transforms.append(self._resample(shape, moved, bent))
        return transforms

    def _crop(self, shape: tuple[int, ...]) -> list[Any]:
        linear = "bilinear" if self.spatial_dims == 2 else "trilinear"
        return [
            mt.RandScaleCropd(KEYS, roi_scale=self.crop_scale, random_size=True, allow_missing_keys=True),
            mt.Resized(KEYS, spatial_size=shape, mode=(linear, NEAREST), allow_missing_keys=True),
        ]

    def _resample(self, shape: tuple[int, ...], moved: bool, bent: bool) -> Any:
        """One interpolation for all of rotation, scale, shift and displacement."""
        common: dict[str, Any] = {"mode": ("bilinear", "nearest"), "padding_mode": OUTSIDE, "allow_missing_keys": True}
        if moved:
            common["rotate_range"] = self.rotate
            common["scale_range"] = [self.scale] * self.spatial_dims
            common["translate_range"] = [self.shift * size for size in shape]
        if not bent:
            return mt.RandAffined(KEYS, prob=1.0, **common)
        if self.spatial_dims == 2:
            spacing = (self.elastic_spacing, self.elastic_spacing)
            return mt.Rand2DElasticd(KEYS, spacing, (0.0, self.elastic_shift), prob=1.0, **common)
        # MONAI smooths uniform noise (standard deviation 1/sqrt(3)) with a Gaussian of sigma, which divides the
        # deviation by (2 sqrt(pi) sigma)^(3/2), the root of the sum of squared weights; undone here.
        sigma = self.elastic_spacing / 2
        magnitude = self.elastic_shift * math.sqrt(3) * (2 * math.sqrt(math.pi) * sigma) ** 1.5
        return mt.Rand3DElasticd(KEYS, (sigma, sigma), (0.0, magnitude), prob=1.0, **common)


def tensors_of(item: Mapping[str, Any]) -> Tensors:
    """The tensors that an augmentation touches."""
    return {key: item[key] for key in KEYS if item.get(key) is not None}
