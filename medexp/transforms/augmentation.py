"""Random changes of training images: the same item and seed give the same result in any process and order."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from monai.data import get_track_meta, set_track_meta

from medexp.boxes import still_there
from medexp.errors import UserError
from medexp.transforms import intensity
from medexp.transforms.bounds import number, per_axis, probability
from medexp.transforms.geometry import Geometry, tensors_of
from medexp.transforms.modalities import lacking


class Augmentation:
    """MONAI's random transforms in a fixed order, from few numbers, and without a state that outlives a call.

    `Augmentation(...)(item, seed)` reads item["image"], a float tensor (C, *spatial), and item["label"] where there is
    one, an integer tensor (1, *spatial), and item["boxes"] with item["box_classes"], (N, 2 * axes) and (N,), of which those
    that are moved out of the image are left out. It returns a new dict with plain tensors of the same shapes and dtypes; other
    keys pass through, and the input tensors are never written to (one that nothing touched is returned itself).
    Geometry moves image (linear) and label (nearest) alike; intensity changes the image only. Every draw comes from
    `seed`, a whole number >= 0. Threads must not share an instance: MONAI's transforms keep their draws on themselves.

    Each operation has a probability, and is off where that or its range is 0. In order of application:

    - crop: a box with `crop_scale`..1 of each axis at a random place, resized to the full size.
    - flip: mirror an axis; a list gives a probability per axis. Set 0 for an axis whose two sides are told apart.
    - turn: by 90, 180 or 270 degrees in a plane. A plane whose axes differ in size is left alone, since a turn would
      change the shape (its 180 degrees are two flips). With unequal voxel spacing a turn distorts: keep it 0.
    - affine: in ONE resampling `rotate` (degrees either way; in 3D a number, or a list with the angle about each axis:
      [15, 0, 0] stays within the planes of axes 1 and 2, as thick slices need), `scale` (fraction either way, drawn
      per axis) and `shift` (fraction of each axis' size, either way).
    - elastic: smooth random displacements that vary over `elastic_spacing` voxels, with a standard deviation in voxels
      drawn from 0 to `elastic_shift`; shares the resampling of affine. In 3D it costs about ten affines.
    - noise: Gaussian, of a standard deviation drawn from 0 to `noise_std` (intensity units).
    - blur: Gaussian, `blur_sigma` = [smallest, largest] in voxels.
    - brightness: an offset up to `brightness_range` either way (intensity units).
    - contrast: distances from the mean times 1 +- `contrast_range`, kept within the image's own range of values.
    - low_resolution: down to a fraction `low_resolution_zoom` of the size (nearest) and back up (linear).
    - gamma: an exponent in `gamma_range` on intensities scaled to 0..1; mean and standard deviation are kept.
    - modality_dropout: each channel becomes 0, and its entry of item["present"], (C,), too where there is one; never all.
      What a case lacks by itself stays 0 whatever was added to it.

    Intensity units are those of a standardised image (mean 0, standard deviation 1). Kinds and order after nnU-Net
    (Isensee et al., Nature Methods 2021, supplement). Raises UserError for a bad value, naming augmentation.<key>.
    """

    def __init__(
        self,
        spatial_dims: int,
        crop: float = 0.0,
        crop_scale: float = 0.8,
        flip: float | Sequence[float] = 0.0,
        turn: float = 0.0,
        affine: float = 0.0,
        rotate: float | Sequence[float] = 0.0,
        scale: float = 0.0,
        shift: float = 0.0,
        elastic: float = 0.0,
        elastic_shift: float = 2.0,
        elastic_spacing: float = 12.0,
        noise: float = 0.0,
        noise_std: float = 0.1,
        blur: float = 0.0,
        blur_sigma: Sequence[float] = (0.5, 1.0),
        brightness: float = 0.0,
        brightness_range: float = 0.2,
        contrast: float = 0.0,
        contrast_range: float = 0.25,
        low_resolution: float = 0.0,
        low_resolution_zoom: Sequence[float] = (0.5, 1.0),
        gamma: float = 0.0,
        gamma_range: Sequence[float] = (0.7, 1.5),
        modality_dropout: float = 0.0,
    ) -> None:
        if spatial_dims not in (2, 3):
            raise UserError(f"augmentation.spatial_dims: got {spatial_dims!r}; allowed: 2 or 3")
        angles = per_axis("rotate", rotate, 1 if spatial_dims == 2 else 3, 0, 180)
        self.spatial_dims = spatial_dims
        self.geometry = Geometry(
            spatial_dims=spatial_dims,
            crop=probability("crop", crop),
            crop_scale=number("crop_scale", crop_scale, 0.1, 1),
            flip=per_axis("flip", flip, spatial_dims, 0, 1),
            turn=probability("turn", turn),
            affine=probability("affine", affine),
            rotate=tuple(math.radians(angle) for angle in angles),
            scale=number("scale", scale, 0, 0.9),
            shift=number("shift", shift, 0, 1),
            elastic=probability("elastic", elastic),
            elastic_shift=number("elastic_shift", elastic_shift, 0, 100),
            elastic_spacing=number("elastic_spacing", elastic_spacing, 2, 256),
        )
        self.intensity = [
            *intensity.noise(noise, noise_std),
            *intensity.blur(blur, blur_sigma),
            *intensity.brightness(brightness, brightness_range),
            *intensity.contrast(contrast, contrast_range),
            *intensity.low_resolution(low_resolution, low_resolution_zoom, spatial_dims),
            *intensity.gamma(gamma, gamma_range),
        ]
        self.modality_dropout = probability("modality_dropout", modality_dropout)
        # One generator, seeded anew at each call: MONAI's own seeding builds one per transform, 0.2 ms each.
        self.random = np.random.RandomState(0)
        for transform in self.intensity:
            transform.set_random_state(state=self.random)

    def __call__(self, item: Mapping[str, Any], seed: int) -> dict[str, Any]:
        """A changed copy of `item`; see the class for shapes. ValueError: an image of other spatial dimensions."""
        given = tensors_of(item)
        if given["image"].ndim != self.spatial_dims + 1:
            raise ValueError(f"expected an image (C, {self.spatial_dims} axes), got {tuple(given['image'].shape)}")
        self.random.seed(np.random.SeedSequence(seed).generate_state(4))
        with _plain_tensors():
            working = {**given, "image": given["image"].float()}  # half precision is for storage
            changed = self.geometry(working, self.random)
            for transform in self.intensity:
                changed = transform(changed)
        touched = [key for key in given if changed[key] is not working[key]]
        made = {**item, **{key: changed[key].to(given[key].dtype).contiguous() for key in touched}}
        return still_there({**made, **lacking(made, self.modality_dropout, self.random)})


@contextmanager
def _plain_tensors() -> Iterator[None]:
    """MONAI returns torch.Tensor, not MetaTensor, within; its global setting comes back afterwards."""
    tracked = get_track_meta()
    set_track_meta(False)
    try:
        yield
    finally:
        set_track_meta(tracked)
