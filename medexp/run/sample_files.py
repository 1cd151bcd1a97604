"""Samples as image files, in units in which the run's own data set would read them back to the same prepared values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from medexp.data.preparation.prepare import Preparation
from medexp.errors import UserError

PROBED = 1 << 14  # values from minus to plus which normalisation is looked at for
PNG_CHANNELS = (1, 3)


@dataclass(frozen=True)
class Units:
    """Prepared value = slope * value in the file + intercept, of each channel."""

    slope: list[float]
    intercept: list[float]

    def of_file(self, image: Tensor) -> np.ndarray[Any, Any]:
        """Prepared (C, *spatial) as the file has them, float64."""
        ends = (-1, *[1] * (image.ndim - 1))
        slope, intercept = (np.reshape(values, ends) for values in (self.slope, self.intercept))
        return (image.double().numpy() - intercept) / slope


def units(preparation: Preparation, limits: tuple[float, float], as_bytes: bool) -> Units:
    """Of files that `preparation` will read. limits: least and greatest prepared value.

    Where normalisation takes any brightness and contrast away (a z-score), files may have any: NIfTI holds the prepared
    values themselves, and bytes reach from limit to limit. Where it is a fixed line (a window, ScaleIntensityRange, none at
    all), files are in units of the source. Raises UserError for any other, which nothing undoes.
    """
    normalize, channels = preparation.normalize or (lambda image: image), preparation.in_channels
    values = torch.linspace(-PROBED, PROBED, 2 * PROBED + 1).reshape(1, -1, 1).repeat(channels, 1, 2)
    values = values if preparation.spatial_dims == 2 else values[..., None]
    found, other = (np.asarray(normalize(image.clone())).reshape(channels, -1) for image in (values, values / 2 + 30))
    if np.allclose(found, other, atol=1e-3):
        low, high = limits
        slope, intercept = ((high - low) / 255, low) if as_bytes else (1.0, 0.0)
        return Units([slope] * channels, [intercept] * channels)
    lines = [_line(values.reshape(channels, -1)[0].numpy(), one) for one in found]
    return Units([slope for slope, _ in lines], [intercept for _, intercept in lines])


def _line(values: np.ndarray[Any, Any], found: np.ndarray[Any, Any]) -> tuple[float, float]:
    """Slope and intercept of what lies between the ends that are clipped."""
    inside = (found > found.min()) & (found < found.max())
    if inside.sum() > 1:
        slope, intercept = np.polyfit(values[inside], found[inside], 1)
        if slope > 0 and np.allclose(slope * values[inside] + intercept, found[inside], atol=1e-3 * np.ptp(found)):
            return float(slope), float(intercept)
    raise UserError(
        "dataset.normalize: is neither a z-score nor a line, so that samples have no way back to files; "
        "train with medexp.transforms.normalize.ZScore"
    )


def suffix_of(preparation: Preparation) -> str:
    """.png for pictures of one channel or three, else .nii.gz."""
    return ".png" if preparation.spatial_dims == 2 and preparation.in_channels in PNG_CHANNELS else ".nii.gz"


def write_image(image: Tensor, path: Path, unit: Units, spacing: list[float]) -> None:
    """Prepared (C, *spatial) as a file, whole or not at all. spacing: mm a voxel."""
    part = path.with_name(f".part-{path.name}")
    values = unit.of_file(image)
    values = values[0] if len(values) == 1 else np.moveaxis(values, 0, -1)
    if path.suffix == ".png":
        Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8)).save(part, format="PNG")
    else:
        saved = nib.Nifti1Image(values.astype(np.float32), np.diag([*spacing, *[1.0] * (4 - len(spacing))]))
        saved.header.set_xyzt_units("mm")
        nib.save(saved, part)
    part.replace(path)
