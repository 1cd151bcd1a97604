"""Deterministic preparation of a case (orientation, spacing, size, intensities) and the way back to the source grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import nibabel as nib
import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Resize, Spacing, SpatialResample
from torch import Tensor

from medexp.data.images import read_image, read_label, read_region
from medexp.data.records import Record
from medexp.data.formats.scan import Array, Scan
from medexp.errors import UserError

PAIRS = ("LR", "PA", "IS")  # ends of the three axes


@dataclass(frozen=True)
class Grid:
    """Voxel grid in space: shape, affine (4, 4) in mm, spacing in mm of the spatial axes."""

    shape: tuple[int, ...]
    affine: Array
    spacing: tuple[float, ...]


@dataclass(frozen=True)
class Prepared:
    """A case as the network sees it, and the grid that it came from.

    image: float32 (C, *spatial); label: uint8 (int16 beyond 256 classes) (1, *spatial) or None, on the same grid.
    """

    image: Tensor
    label: Tensor | None
    affine: Array
    source: Grid
    box: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    missing: tuple[int, ...] = ()


@dataclass(frozen=True)
class Preparation:
    """What is done once to every case, before any patch is cut.

    orientation: axis codes ("RAS") of volumes, or None to keep the file's axes; images in 2D keep theirs. spacing: mm a
    voxel, or None to keep the scan's. image_size: voxels to resize to (classification), or None. normalize: a MONAI
    array transform on (C, *spatial). Raises UserError for values that fit no grid.
    """

    spatial_dims: int
    in_channels: int
    orientation: str | None = None
    spacing: Sequence[float] | None = None
    image_size: Sequence[int] | None = None
    normalize: Callable[[Tensor], Tensor] | None = None

    windows: Sequence[Sequence[float]] | None = None
    crop_foreground: bool = False
    label_values: Sequence[int | Sequence[int]] | None = None

    @property
    def file_channels(self) -> int:
        return 1 if self.windows else self.in_channels

    def identity(self) -> str:
        return repr([self.spacing, self.orientation, self.image_size, self.windows, self.label_values, vars(self.normalize) if self.normalize else None])

    def read_label(self, record: Record) -> Scan:
        scan = read_label(record, spatial_dims=self.spatial_dims)
        if self.label_values is None:
            return scan
        out = np.full_like(scan.array, -1)
        for index, values in enumerate(self.label_values):
            out[np.isin(scan.array, values)] = index
        return Scan(out, scan.affine, scan.spacing)

    def region(self, record: Record) -> Array | None:
        return read_region(record, spatial_dims=self.spatial_dims)

    def __post_init__(self) -> None:
        codes = self.orientation
        if codes is not None and (len(codes) != 3 or any(sum(c in codes for c in pair) != 1 for pair in PAIRS)):
            what = f"'{codes}' names no three axes; give one letter of each of LR, PA, IS, e.g. RAS, or null"
            raise UserError(f"dataset.orientation: {what}")
        for key, values in (("spacing", self.spacing), ("image_size", self.image_size)):
            if values is not None and (len(values) != self.spatial_dims or not all(value > 0 for value in values)):
                what = f"{list(values)} is not a positive number for each of {self.spatial_dims} axes"
                raise UserError(f"dataset.{key}: {what}; mend it, or set it to null")

    def read(self, record: Record, with_label: bool) -> tuple[Scan, Scan | None]:
        """The files of a case as they are. Raises UserError where one cannot be read."""
        image = read_image(record, spatial_dims=self.spatial_dims, channels=self.file_channels)
        label = self.read_label(record) if with_label else None
        return image, label

    def prepare(self, image: Scan, label: Scan | None = None) -> Prepared:
        """Image (C, *spatial) and label (*spatial) on one grid, oriented, resampled and normalised; the scans stay as they are."""
        source = Grid(image.array.shape[1:], image.affine, image.spacing)
        pixels, affine = self._orient(image.array, image.affine)
        plain, grid = self._resample(torch.from_numpy(pixels), affine, label=False)
        mask = None
        if label is not None:
            turned, _ = self._orient(label.array[None], image.affine)
            kind = torch.uint8 if turned.max() <= 255 else torch.int16
            mask = self._resample(torch.from_numpy(turned), affine, label=True)[0].to(kind).contiguous()
        if self.windows:
            plain = torch.cat([((plain - (lv - w / 2)) / w).clip(0, 1) for lv, w in self.windows])
        if np.may_share_memory(plain.numpy(), image.array):
            plain = plain.clone()  # MONAI normalises in place
        if self.normalize is not None:
            plain = _plain(torch.as_tensor(self.normalize(plain)).float())
        return Prepared(plain.contiguous(), mask, grid, source)

    def _orient(self, array: Array, affine: Array) -> tuple[Array, Array]:
        turn = self._turn(affine)
        if turn is None:
            return np.ascontiguousarray(array), affine
        turned = np.moveaxis(nib.orientations.apply_orientation(np.moveaxis(array, 0, -1), turn), -1, 0)
        return np.ascontiguousarray(turned), affine @ nib.orientations.inv_ornt_aff(turn, array.shape[1:])

    def _turn(self, affine: Array) -> Array | None:
        if self.orientation is None or self.spatial_dims != 3:
            return None
        wanted = nib.orientations.axcodes2ornt(tuple(self.orientation))
        return np.asarray(nib.orientations.ornt_transform(nib.orientations.io_orientation(affine), wanted))

    def _resample(self, values: Tensor, affine: Array, label: bool) -> tuple[Tensor, Array]:
        """Values (C, *spatial) at the wanted spacing and size, and their affine."""
        if self.spacing is None and self.image_size is None:
            return values, affine
        # Along the grid's own axes: how the grid lies in space (oblique, or a slice in another plane) is put back after.
        axes = np.diag([*nib.affines.voxel_sizes(affine), 1.0])
        tensor = MetaTensor(values.float(), affine=torch.from_numpy(axes))
        if self.spacing is not None:
            mode = "nearest" if label else "bilinear"
            tensor = Spacing(pixdim=tuple(self.spacing), mode=mode, padding_mode="border")(tensor)  # type: ignore[assignment]
        if self.image_size is not None:
            tensor = _resize(tensor, tuple(self.image_size), label)
        moved = np.asarray(tensor.affine, dtype=np.float64)
        return tensor.as_tensor(), affine @ np.linalg.inv(axes) @ moved

    def labels_on_source(self, probabilities: Tensor, prepared: Prepared) -> Array:
        """Class map (uint8 or uint16, shape of the source) from probabilities (K, *spatial) on the prepared grid.

        Where the grid was resampled, the probabilities are resampled back one class at a time, so that no more than
        two classes are ever held at full size.
        """
        shape, affine = prepared.source.shape, prepared.source.affine
        turn = self._turn(affine)
        if turn is None:
            return self._arg_max(probabilities, np.linalg.inv(affine) @ prepared.affine, shape)
        axes = np.argsort(turn[:, 0])
        oriented = affine @ nib.orientations.inv_ornt_aff(turn, shape)
        moved = np.linalg.inv(oriented) @ prepared.affine
        labels = self._arg_max(probabilities, moved, tuple(shape[axis] for axis in axes))
        wanted = nib.orientations.axcodes2ornt(tuple(self.orientation or ""))
        back = nib.orientations.ornt_transform(wanted, nib.orientations.io_orientation(affine))
        return np.ascontiguousarray(nib.orientations.apply_orientation(labels, back))

    def _arg_max(self, probabilities: Tensor, grid: Array, shape: tuple[int, ...]) -> Array:
        """grid: affine of the probabilities in voxels of the wanted grid, which has `shape`."""
        classes = probabilities.shape[0]
        labels = np.zeros(shape, dtype=np.uint8 if classes <= 256 else np.uint16)
        resampled = self.spacing is not None or self.image_size is not None
        back = SpatialResample(mode="bilinear", padding_mode="border", dtype=np.float32)
        best = torch.full(shape, -torch.inf)
        for index in range(classes):  # a compare a class: arg max over a strided axis is many times slower
            plane = probabilities[index]
            if resampled:
                tensor = MetaTensor(plane[None], affine=torch.from_numpy(grid))
                plane = _plain(back(tensor, dst_affine=torch.eye(4), spatial_size=shape)[0])
            labels[(plane > best).numpy()] = index
            torch.maximum(best, plane, out=best)
        return labels


def _resize(tensor: MetaTensor, size: tuple[int, ...], label: bool) -> MetaTensor:
    """Shrunk axes are averaged, which keeps what lies between the new voxels; enlarged ones are interpolated."""
    if label:
        return Resize(size, mode="nearest-exact")(tensor)  # type: ignore[return-value]  # "nearest" is half a voxel off
    smaller = tuple(map(min, size, tensor.shape[1:]))
    shrunk = Resize(smaller, mode="area")(tensor)
    return Resize(size, mode="trilinear" if len(size) == 3 else "bilinear")(shrunk)  # type: ignore[return-value]


def _plain(tensor: Tensor) -> Tensor:
    return tensor.as_tensor() if isinstance(tensor, MetaTensor) else tensor
