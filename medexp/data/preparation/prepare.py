"""Deterministic preparation of a case (orientation, crop, spacing, size, intensities) and the way back to the source grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from torch import Tensor

from medexp.data.formats.scan import Array, Scan
from medexp.data.images import read_image, read_label, read_region
from medexp.data.preparation.frames import on_one_scale, read_frames
from medexp.data.preparation.identity import identity
from medexp.data.preparation.label_values import (
    check_label_values,
    class_indices,
    ignored,
    unlisted,
    with_ignored,
)
from medexp.data.preparation.source_grid import Box, Grid, Parts, Way, nonzero_box
from medexp.data.preparation.units import Line
from medexp.data.preparation.windows import check_windows, windowed
from medexp.data.records import Record
from medexp.errors import UserError

__all__ = ["Grid", "Preparation", "Prepared"]
PAIRS = ("LR", "PA", "IS")  # ends of the three axes


@dataclass(frozen=True)
class Prepared:
    """A case as the network sees it, and the grid that it came from.

    image: float32 (C, *spatial); label: uint8 (int16 beyond 256 classes) (1, *spatial) or None, on the same grid.
    box: the part of the oriented source grid that was kept, in its voxels; None where cases are not cropped.
    missing: channels that the case lacks; they are zero. ignored: whether IGNORED in the label means: not annotated.
    """

    image: Tensor
    label: Tensor | None
    affine: Array
    source: Grid
    box: Box | None = None
    missing: tuple[int, ...] = ()
    ignored: bool = False


@dataclass(frozen=True)
class Preparation:
    """What is done once to every case, before any patch is cut. Raises UserError for values that fit no case.

    orientation: axis codes ("RAS") of volumes, or None to keep the file's axes; images in 2D keep theirs. spacing: mm a
    voxel, or None to keep the scan's. image_size: voxels to resize to (classification), or None; without `resize` images
    are padded with their edge or cut to it around the middle, which keeps volumes. normalize: a MONAI array transform on
    (C, *spatial).

    crop_foreground: cuts off what is zero in every channel all around, after orientation (nnU-Net's nonzero crop). What
    a label map holds there is not trained on, and comes back as background.
    windows: level and width (HU) of each channel to make of a CT's only one: level - width / 2 becomes 0, level +
    width / 2 becomes 1, what lies beyond is clipped. After resampling, because what lies between two voxels is a mean of
    their HU and not of what a window has left of them; before `normalize`.
    label_values: for each class the value, or values, that stand for it in the label files; None where they are indices.
    hidden: for studies of several frames (T * C, *spatial), None for still images: how many at the end are to be predicted.
    ignore: value, or values, of what is not annotated in the label files. neighbours: slices on either side that are channels of a slice.

    A channel that a case lacks is zero once all is done. `normalize` meets a copy of another channel in its place, so
    that it finds as many channels as ever and no constant one; or, where it says `channel_wise=False` (its statistics
    are of all channels together), only the channels that are there.
    """

    spatial_dims: int
    in_channels: int
    orientation: str | None = None
    spacing: Sequence[float] | None = None
    image_size: Sequence[int] | None = None
    normalize: Callable[[Tensor], Tensor] | None = None
    _: KW_ONLY
    windows: Sequence[Sequence[float]] | None = None
    crop_foreground: bool = False
    label_values: Sequence[int | Sequence[int]] | None = None
    hidden: int | None = None
    neighbours: int = 0
    resize: bool = True
    ignore: int | Sequence[int] | None = None

    def __post_init__(self) -> None:
        codes = self.orientation
        if codes is not None and (len(codes) != 3 or any(sum(c in codes for c in pair) != 1 for pair in PAIRS)):
            what = f"'{codes}' names no three axes; give one letter of each of LR, PA, IS, e.g. RAS, or null"
            raise UserError(f"dataset.orientation: {what}")
        for key, values in (("spacing", self.spacing), ("image_size", self.image_size)):
            if values is not None and (len(values) != self.spatial_dims or not all(value > 0 for value in values)):
                what = f"{list(values)} is not a positive number for each of {self.spatial_dims} axes"
                raise UserError(f"dataset.{key}: {what}; mend it, or set it to null")
        if self.windows is not None:
            check_windows(self.windows, self.in_channels)
        if self.label_values is not None:
            check_label_values(self._values)

    @property
    def file_channels(self) -> int:
        """Channels of the image files of a case, taken together."""
        return self.in_channels // (2 * self.neighbours + 1) if self.windows is None else 1

    @property
    def _values(self) -> list[list[int]]:
        """Of each class: its values in the label files."""
        return [list(entry) if isinstance(entry, list | tuple) else [entry] for entry in self.label_values or ()]  # type: ignore[list-item]

    def identity(self) -> str:
        """All of this as text, for the key of a prepared case. Raises UserError where `normalize` cannot be identified."""
        spacing = self.spacing and [float(size) for size in self.spacing]
        size = self.image_size and [int(voxels) for voxels in self.image_size]
        windows = self.windows and [[float(number) for number in window] for window in self.windows]
        grid = [self.spatial_dims, self.in_channels, self.orientation, spacing, size, bool(self.crop_foreground)]
        hidden: list[Any] = [] if self.hidden is None else [self.hidden]
        hidden += [] if self.resize else ["padded"]
        hidden += [] if self.ignore is None else ["ignored", self.ignore]
        return identity([grid, windows, self._values, *hidden]) + identity(self.normalize, "dataset.normalize")

    def read(self, record: Record, with_label: bool) -> tuple[Scan, Scan | None]:
        """The files of a case: the image as it is, the label map as class indices. Raises UserError where one cannot be read."""
        read = read_image if self.hidden is None else read_frames
        image = read(record, spatial_dims=self.spatial_dims, channels=self.file_channels)
        return image, self.read_label(record) if with_label else None

    def read_label(self, record: Record) -> Scan:
        """The label map of a case, class indices (*spatial), background outside of its region. Raises UserError."""
        label = read_label(record, spatial_dims=self.spatial_dims)
        region, values, array = self.region(record), self._values, label.array
        unknown, nothing = ignored(array, self.ignore), array.dtype.type(values[0][0] if values else 0)
        array = array if unknown is None else np.where(unknown, nothing, array)
        if region is not None:
            if region.shape != array.shape:
                what = f"field of view {region.shape} differs from label shape {array.shape}"
                raise UserError(f"case {record.case_id}: {record.region}: {what}; resample one onto the other")
            array = np.where(region, array, nothing)
            unknown = None if unknown is None else unknown & region
        if values:
            classes = class_indices(array, values)
            if classes.max(initial=0) == len(values):
                raise UserError(unlisted(record, array[classes == len(values)], values))
            array = classes
        if unknown is not None:
            array = with_ignored(array, unknown)
        return replace(label, array=array, ignored=unknown is not None)

    def region(self, record: Record) -> Array | None:
        """Where a case is evaluated, boolean (*spatial); None: everywhere. Raises UserError where it cannot be read."""
        return read_region(record, spatial_dims=self.spatial_dims)

    def prepare(self, image: Scan, label: Scan | None = None) -> Prepared:
        """Image (C, *spatial) and label (*spatial) on one grid, and the image's intensities; the scans stay as they are."""
        source = Grid(image.array.shape[1:], image.affine, image.spacing)
        missing = tuple(image.missing)
        there = [channel for channel in range(len(image.array)) if channel not in missing]
        pixels, way = image.array[there] if missing else image.array, self._way(source)
        if self.crop_foreground:
            way = replace(way, box=nonzero_box(way.view(pixels)))
        values = way.image(pixels)
        mask = None
        if label is not None:
            kind = np.uint8 if label.array.dtype == np.uint8 or label.array.max(initial=0) <= 255 else np.int16
            turned = way.label(label.array[None].astype(kind, copy=False))
            mask = torch.from_numpy(turned.copy() if np.may_share_memory(turned, label.array) else turned)
        if self.windows is not None:
            values = windowed(values, self.windows)
        if np.may_share_memory(values, image.array):
            values = values.copy()  # MONAI normalises in place
        plain = self._normalized(torch.from_numpy(values), there, missing)
        unknown = label is not None and label.ignored
        return Prepared(plain.contiguous(), mask, way.affine, source, way.box, missing, unknown)

    @property
    def as_scanned(self) -> bool:
        """Whether cases keep the voxels of their scanner."""
        return self.spacing is None and self.image_size is None

    def _way(self, source: Grid, box: Box | None = None) -> Way:
        orientation = self.orientation if self.spatial_dims == 3 else None
        return Way(source, orientation, box, self.spacing, self.image_size, self.resize)

    def _normalized(self, plain: Tensor, there: list[int], missing: tuple[int, ...]) -> Tensor:
        """All channels (C, *spatial), of those that are there."""
        if self.hidden is not None:
            return on_one_scale(plain, self.in_channels, self.hidden, self.normalize)
        count, apart = len(there) + len(missing), getattr(self.normalize, "channel_wise", None) is False
        if missing and not apart:
            plain = plain[[there.index(channel) if channel in there else 0 for channel in range(count)]]
        if self.normalize is not None:
            normalized = torch.as_tensor(self.normalize(plain)).float()
            plain = normalized.as_tensor() if isinstance(normalized, MetaTensor) else normalized
        if missing and apart:
            full = plain.new_zeros((count, *plain.shape[1:]))
            full[there] = plain
            return full
        if missing:
            plain[list(missing)] = 0
        return plain

    def labels_on_source(self, probabilities: Tensor | Parts, prepared: Prepared) -> Array:
        """Class map (uint8 or uint16, shape of the source) from probabilities (K, *spatial) on the prepared grid, or from
        parts of them along the first axis, in order.

        Background outside of the box that the case was cropped to. Where the grid was resampled, the probabilities are
        resampled back, a slab and a class at a time.
        """
        return self._way(prepared.source, prepared.box).back(probabilities)

    def chances_on_source(self, probabilities: Tensor, prepared: Prepared) -> Tensor:
        """(K, *source shape) of probabilities (K, *spatial) on the prepared grid, which add up to 1: background outside of the
        box that the case was cropped to."""
        made = self.values_on_source(probabilities.numpy(), prepared)
        made[0] += 1 - made.sum(axis=0)
        return torch.from_numpy(made)

    def values_on_source(self, values: Array, prepared: Prepared) -> Array:
        """(K, *source shape) of any values (K, *spatial) on the prepared grid, as they are; 0 outside of the box."""
        return self._way(prepared.source, prepared.box).image_back(values)

    def image_on_source(self, image: Tensor, prepared: Prepared, record: Record) -> Array:
        """(C, *source shape), in the units of the source, of an image (C, *spatial) on the prepared grid.

        The normalisation is undone by the line that leads from the prepared image back to the source: exactly where it is
        linear, as z-scores are. 0 outside of the box that the case was cropped to. Raises UserError.
        """
        made = self._way(prepared.source, prepared.box).image_back(image.numpy())
        inside, lines = self._lines(prepared, record, len(image))
        for values, line in zip(made, lines, strict=True):
            values[inside] = line.along(values[inside])
        return made

    def image_in_units(self, image: Tensor, prepared: Prepared, record: Record) -> Array:
        """(C, *spatial) on the prepared grid or a finer one, in the units of the source: see image_on_source."""
        _, lines = self._lines(prepared, record, len(image))
        return np.stack([line.along(values) for line, values in zip(lines, image.numpy(), strict=True)])

    def _lines(self, prepared: Prepared, record: Record, channels: int) -> tuple[Array, list[Line]]:
        """The box that was kept, on the source grid, and what leads from the prepared values of each channel in it to those
        of the source."""
        way = self._way(prepared.source, prepared.box)
        known, source = way.image_back(prepared.image.numpy()), self.read(record, with_label=False)[0].array
        inside = way.image_back(np.ones((1, *prepared.image.shape[1:]), np.float32))[0] > 0
        likes = [min(channel, len(source) - 1) for channel in range(channels)]
        return inside, [Line.between(known[like][inside], source[like][inside]) for like in likes]
