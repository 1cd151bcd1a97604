"""Frames of a study read as one image, and brought to one scale: (T * C, *spatial), frame after frame.

Folded like this they pass through orientation, resampling, patches and augmentation as channels do: all frames alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from monai.data import MetaTensor
from torch import Tensor

from medexp.data.formats.scan import Scan
from medexp.data.images import PLACED, TIFF, header, read_image, suffix
from medexp.data.records import Record
from medexp.errors import UserError

LINEAR = 1e-3  # largest deviation from a straight line, in standard deviations, of a normalisation that is one


def read_frames(record: Record, *, spatial_dims: int, channels: int) -> Scan:
    """All frames of a study: float32 (T * C, *spatial). Raises UserError where one cannot be read or differs in grid.

    The frames are the files of the record in order, or the time points of its one file (`record.frames`: which).
    """
    if len(record.images) == 1 and record.frames is not None:
        if channels == 1 and suffix(record.files[0]) in (*PLACED, *TIFF):
            return _at_once(record, record.frames, spatial_dims)
        each = [replace(record, frames=None, time=time) for time in record.frames]
    else:
        each = [replace(record, images=(image,), frames=None) for image in record.images]
    scans = [read_image(frame, spatial_dims=spatial_dims, channels=channels) for frame in each]
    for index, (frame, scan) in enumerate(zip(each, scans, strict=True)):
        shape, first = scan.array.shape[1:], scans[0].array.shape[1:]
        if shape != first or not np.allclose(scan.affine, scans[0].affine, atol=1e-3):
            what = (
                f"has shape {shape}, the first {first}" if shape != first else "lies elsewhere than the first (affines)"
            )
            where = f"case {record.case_id}: {frame.files[0]}"
            raise UserError(f"{where}: frame {index} {what}; resample or register it first")
    return replace(scans[0], array=np.concatenate([scan.array for scan in scans]))


def _at_once(record: Record, frames: tuple[int, ...], spatial_dims: int) -> Scan:
    """Time points of one file, which is read once. A 2D series is a file of three axes, the last one time."""
    shape = header(record).shape
    if spatial_dims == 2:
        scan = read_image(record, spatial_dims=3, channels=1)
        array = np.moveaxis(scan.array[0], -1, 0)
        return replace(scan, array=np.ascontiguousarray(array[list(frames)]), spacing=scan.spacing[:2])
    scan = read_image(record, spatial_dims=spatial_dims, channels=shape[-1])
    return replace(scan, array=scan.array[list(frames)])


def on_one_scale(plain: Tensor, channels: int, hidden: int, normalize: Callable[[Tensor], Tensor] | None) -> Tensor:
    """(T * C, *spatial) on one scale for the whole study, so that what grows or brightens is still seen to.

    `normalize` is given (C, T, *spatial). What it learns of an image (mean, deviation, range) it learns of the frames
    that the network will see: the last `hidden` are put on the same line. Where it is no straight line a voxel (clipping
    to fixed values), all frames go through it together.
    """
    if normalize is None:
        return plain
    frames = plain.unflatten(0, (-1, channels)).transpose(0, 1)  # (C, T, *spatial)
    seen = frames.shape[1] - hidden
    if not hidden or seen < 1:
        return _back(_plain(normalize(frames.clone())))
    given = frames[:, :seen]
    found = _plain(normalize(given.clone()))
    x, y = given.flatten(1).double(), found.flatten(1).double()
    x_mean, y_mean = x.mean(dim=1, keepdim=True), y.mean(dim=1, keepdim=True)
    slope = ((x - x_mean) * (y - y_mean)).sum(1, keepdim=True) / (x - x_mean).square().sum(1, keepdim=True).clamp(1e-30)
    off = (y - y_mean - slope * (x - x_mean)).abs().amax(dim=1)
    if (off > LINEAR * y.std(dim=1).clamp(min=1e-6)).any():
        return _back(_plain(normalize(frames.clone())))
    shape = (-1, *[1] * (frames.ndim - 1))
    later = (frames[:, seen:].double() - x_mean.view(shape)) * slope.view(shape) + y_mean.view(shape)
    return _back(torch.cat([found, later.float()], dim=1))


def _plain(image: Tensor) -> Tensor:
    image = torch.as_tensor(image).float()
    return image.as_tensor() if isinstance(image, MetaTensor) else image


def _back(frames: Tensor) -> Tensor:
    return frames.transpose(0, 1).flatten(0, 1).contiguous()
