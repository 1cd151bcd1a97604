"""Random moves of image and label together: crop, flip, turn, affine and elastic."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import monai.transforms as mt
import numpy as np
import torch
from torch.nn import functional

from medexp.boxes import affine, flipped, turned
from medexp.errors import UserError

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
        """Move `tensors` ("image" and perhaps "label", (C, *spatial); perhaps "boxes", (N, 2 * axes)), with draws from
        `random`."""
        shape = tuple(tensors["image"].shape[1:])
        for transform in self._transforms(shape, random):
            if isinstance(transform, mt.Randomizable):
                transform.set_random_state(state=random)
            size, tensors = tensors["image"].shape[1:], transform(tensors)
            if "boxes" in tensors:
                tensors = {**tensors, "boxes": _boxes(tensors["boxes"], transform, size)}
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
        if not bent:
            return RandomAffine(self.rotate, self.scale, self.shift)
        common: dict[str, Any] = {"mode": ("bilinear", "nearest"), "padding_mode": OUTSIDE, "allow_missing_keys": True}
        if moved:
            common["rotate_range"] = self.rotate
            common["scale_range"] = [self.scale] * self.spatial_dims
            common["translate_range"] = [self.shift * size for size in shape]
        if self.spatial_dims == 2:
            spacing = (self.elastic_spacing, self.elastic_spacing)
            return mt.Rand2DElasticd(KEYS, spacing, (0.0, self.elastic_shift), prob=1.0, **common)
        # MONAI smooths uniform noise (standard deviation 1/sqrt(3)) with a Gaussian of sigma, which divides the
        # deviation by (2 sqrt(pi) sigma)^(3/2), the root of the sum of squared weights; undone here.
        sigma = self.elastic_spacing / 2
        magnitude = self.elastic_shift * math.sqrt(3) * (2 * math.sqrt(math.pi) * sigma) ** 1.5
        return mt.Rand3DElasticd(KEYS, (sigma, sigma), (0.0, magnitude), prob=1.0, **common)


@dataclass
class RandomAffine(mt.Randomizable):
    """Rotation about the middle, scale of each axis and shift in one interpolation, as MONAI's RandAffine draws them.

    The grid is computed from the matrix in one step and shared by image (linear) and label (nearest): about half of
    the time of RandAffined, which transforms coordinates in double precision for each of them.
    rotate: largest angles in radians; scale: largest deviation from 1; shift: largest fraction of the size.
    """

    rotate: Sequence[float]
    scale: float
    shift: float

    def __call__(self, tensors: Tensors) -> Tensors:
        """Tensors (C, *spatial) of one spatial shape, resampled."""
        shape = tensors["image"].shape[1:]
        angles = [self.R.uniform(-limit, limit) for limit in self.rotate]
        scales = self.R.uniform(1 - self.scale, 1 + self.scale, len(shape))
        shifts = self.R.uniform(-self.shift, self.shift, len(shape))
        half = np.asarray(shape) / 2  # of the sampler's coordinates, -1..1 from edge to edge
        matrix = np.diag(1 / half) @ _rotation(angles) @ np.diag(scales * half)
        theta = np.concatenate([matrix, 2 * shifts[:, None]], axis=1)  # rows and columns in the order of the axes
        reverse = [*range(len(shape))[::-1]]  # the sampler counts axes from the last
        theta = theta[reverse][:, [*reverse, len(shape)]]
        self.taken = (np.diag(1 / scales) @ _rotation(angles).T, shifts)
        device = tensors["image"].device
        exact = torch.float64 if device.type == "cuda" else torch.float32  # TF32 would round coordinates to 10 bits
        transform = torch.from_numpy(theta)[None].to(device, exact)
        grid = functional.affine_grid(transform, [1, 1, *shape], align_corners=False).float()
        moved = dict(tensors)
        for key in KEYS:
            if (tensor := tensors.get(key)) is not None:
                mode = "bilinear" if key == "image" else "nearest"
                sampled = functional.grid_sample(
                    tensor.float()[None], grid, mode=mode, padding_mode=OUTSIDE, align_corners=False
                )
                moved[key] = sampled[0].to(tensor.dtype)
        return moved

    def boxes(self, boxes: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
        """Boxes (N, 2 * axes) of an image of this shape, moved as the last call moved the image."""
        linear, shifts = self.taken  # of places counted from the middle
        middle = np.asarray(shape) / 2
        offset = middle - linear @ (middle + shifts * np.asarray(shape))
        return affine(boxes, torch.from_numpy(linear).to(boxes), torch.from_numpy(offset).to(boxes))


def _boxes(boxes: torch.Tensor, transform: Any, shape: Sequence[int]) -> torch.Tensor:
    """Boxes of an image of this shape after a transform that has just been applied to it. Raises UserError."""
    if isinstance(transform, RandomAffine):
        return transform.boxes(boxes, shape)
    if isinstance(transform, mt.Flipd):
        return flipped(boxes, shape, transform.flipper.spatial_axis)  # type: ignore[arg-type]  # one axis each
    if isinstance(transform, mt.RandRotate90d):
        return turned(boxes, shape, transform._rand_k, transform.spatial_axes)
    if isinstance(transform, mt.RandScaleCropd):
        start = [part.start for part in transform.cropper._slices[-len(shape) :]]  # type: ignore[attr-defined]
        return boxes - boxes.new_tensor(start * 2)
    if isinstance(transform, mt.Resized):
        size = boxes.new_tensor(transform.resizer.spatial_size)
        return boxes * (size / boxes.new_tensor(list(shape))).repeat(2)
    raise UserError("augmentation.elastic: boxes are not bent with the image; set augmentation.elastic=0")


def _rotation(angles: Sequence[float]) -> np.ndarray:
    """In 2D one angle; in 3D about axis 0, then 1, then 2."""
    if len(angles) == 1:
        cos, sin = math.cos(angles[0]), math.sin(angles[0])
        return np.asarray([[cos, -sin], [sin, cos]])
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        turn = np.eye(3)
        one, two = (other for other in range(3) if other != axis)
        cos, sin = math.cos(angle), math.sin(angle)
        turn[one, one] = turn[two, two] = cos
        turn[one, two], turn[two, one] = -sin, sin
        matrix = matrix @ turn
    return matrix


def tensors_of(item: Mapping[str, Any]) -> Tensors:
    """The tensors that an augmentation touches."""
    return {key: item[key] for key in (*KEYS, "boxes") if item.get(key) is not None}
