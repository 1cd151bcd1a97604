"""Deterministic preparation of a case (orientation, spacing, size, intensities) and the way back to the source grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Resize, Spacing, SpatialResample
from torch import Tensor

from medexp.data.images import Scan, read_image, read_label
from medexp.data.records import Record

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Grid:
    """Voxel grid in space: shape, affine (4, 4) in mm, spacing in mm of the spatial axes."""

    shape: tuple[int, ...]
    affine: Array
    spacing: tuple[float, ...]


@dataclass(frozen=True)
class Prepared:
    """A case as the network sees it, and the grid that it came from.

    image: float32 (C, *spatial); label: uint8 (1, *spatial) or None, on the same grid.
    """

    image: Tensor
    label: Tensor | None
    affine: Array
    source: Grid


@dataclass(frozen=True)
class Preparation:
    """What is done once to every case, before any patch is cut.

    orientation: axis codes ("RAS"), or None to keep the file's axes. spacing: mm a voxel, or None to keep the scan's.
    image_size: voxels to resize to (classification), or None. normalize: a MONAI array transform on (C, *spatial).
    """

    spatial_dims: int
    in_channels: int
    orientation: str | None = None
    spacing: Sequence[float] | None = None
    image_size: Sequence[int] | None = None
    normalize: Callable[[Tensor], Tensor] | None = None

    def read(self, record: Record, with_label: bool) -> tuple[Scan, Scan | None]:
        """The files of a case as they are. Raises UserError where one cannot be read."""
        image = read_image(record, spatial_dims=self.spatial_dims, channels=self.in_channels)
        label = read_label(record, spatial_dims=self.spatial_dims) if with_label else None
        return image, label

    def prepare(self, image: Scan, label: Scan | None = None) -> Prepared:
        """Image (C, *spatial) and label (*spatial) on one grid, oriented, resampled and normalised."""
        source = Grid(image.array.shape[1:], image.affine, image.spacing)
        pixels, affine = self._orient(image.array, image.affine)
        tensor = self._resample(MetaTensor(torch.from_numpy(pixels), affine=torch.from_numpy(affine)), "bilinear")
        mask = None
        if label is not None:
            flipped, _ = self._orient(label.array[None], image.affine)
            values = torch.from_numpy(flipped.astype(np.float32))
            mask = (
                self._resample(MetaTensor(values, affine=torch.from_numpy(affine)), "nearest")
                .as_tensor()
                .to(torch.uint8)
            )
        grid = np.asarray(tensor.affine, dtype=np.float64)
        plain = tensor.as_tensor().float()
        if self.normalize is not None:
            plain = torch.as_tensor(self.normalize(plain)).float()
            plain = plain.as_tensor() if isinstance(plain, MetaTensor) else plain
        return Prepared(plain.contiguous(), mask, grid, source)

    def _orient(self, array: Array, affine: Array) -> tuple[Array, Array]:
        if self.orientation is None or self.spatial_dims != 3:
            return np.ascontiguousarray(array), affine
        turn = self._turn(affine)
        spatial = array.shape[1:]
        turned = np.moveaxis(nib.orientations.apply_orientation(np.moveaxis(array, 0, -1), turn), -1, 0)
        return np.ascontiguousarray(turned), affine @ nib.orientations.inv_ornt_aff(turn, spatial)

    def _turn(self, affine: Array) -> Array:
        wanted = nib.orientations.axcodes2ornt(tuple(self.orientation or "RAS"))
        return nib.orientations.ornt_transform(nib.orientations.io_orientation(affine), wanted)

    def _resample(self, tensor: MetaTensor, mode: str) -> MetaTensor:
        if self.spacing is not None:
            tensor = Spacing(pixdim=tuple(self.spacing), mode=mode, padding_mode="border")(tensor)  # type: ignore[assignment]
        if self.image_size is not None:
            resize = Resize(tuple(self.image_size), mode="nearest" if mode == "nearest" else "area")
            tensor = resize(tensor)  # type: ignore[assignment]
        return tensor

    def labels_on_source(self, probabilities: Tensor, prepared: Prepared) -> Array:
        """Class map (uint8 or uint16, shape of the source) from probabilities (K, *spatial) on the prepared grid.

        Where the grid was resampled, the probabilities are resampled back one class at a time, so that no more than
        two classes are ever held at full size.
        """
        source = prepared.source
        turned = self.orientation is not None and self.spatial_dims == 3
        turn = self._turn(source.affine) if turned else None
        empty = np.empty((1, *source.shape), dtype=np.uint8)
        oriented, affine = self._orient(empty, source.affine)
        labels = self._arg_max(probabilities, prepared.affine, oriented.shape[1:], affine)
        if turn is not None:
            back = nib.orientations.ornt_transform(
                nib.orientations.axcodes2ornt(tuple(self.orientation or "RAS")),
                nib.orientations.io_orientation(source.affine),
            )
            labels = nib.orientations.apply_orientation(labels, back)
        return np.ascontiguousarray(labels)

    def _arg_max(self, probabilities: Tensor, grid: Array, shape: tuple[int, ...], affine: Array) -> Array:
        classes = probabilities.shape[0]
        kind = np.uint8 if classes <= 256 else np.uint16
        resampled = self.spacing is not None or self.image_size is not None
        back = SpatialResample(mode="bilinear", padding_mode="border")
        best = labels = None
        for index in range(classes):  # a compare a class: arg max over a strided axis is many times slower
            plane = probabilities[index]
            if resampled:
                tensor = MetaTensor(plane[None], affine=torch.from_numpy(grid))
                plane = back(tensor, dst_affine=torch.from_numpy(affine), spatial_size=shape)[0]
                plane = plane.as_tensor() if isinstance(plane, MetaTensor) else plane
            if best is None or labels is None:
                best, labels = plane.clone(), np.zeros(plane.shape, dtype=kind)
                continue
            higher = plane > best
            labels[higher.numpy()] = index
            best = torch.maximum(best, plane)
        assert labels is not None
        return labels
