"""A scan of a phantom patient: the grid, the signal, the scanner's faults, and the file's own orientation."""

from __future__ import annotations

from dataclasses import dataclass

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medexp.data.phantom.anatomy import FOLLOWUPS, KIDNEY, LESION, LIVER, Array, Patient, Waves, generator

FULL_SCALE = 1000.0  # signal 1.0 in the int16 files
EDGE = 2.0  # mm over which one tissue fades into the next (partial volume)


@dataclass(frozen=True)
class Grid:
    """Where voxels lie, in RAS order with 3 axes (`spacing` in mm), and how the file turns them.

    `start` is the patient coordinate of the first voxel, `offset` that of the patient's origin in the scanner's frame,
    both in mm; file axis a is patient axis `order[a]`, backwards where `flips[a]`.
    """

    shape: tuple[int, ...]
    spacing: NDArray[np.float64]
    start: NDArray[np.float64]
    offset: NDArray[np.float64]
    order: tuple[int, ...]
    flips: tuple[bool, ...]

    def points(self) -> Array:
        """(N, 3) patient coordinates of the voxels in mm."""
        axes = [
            start + step * np.arange(n) for start, step, n in zip(self.start, self.spacing, self.shape, strict=True)
        ]
        return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3).astype(np.float32)

    def turned(self, volume: NDArray) -> NDArray:
        """(X, Y, Z) in RAS order -> the file's axes; a 2D file loses its single slice."""
        volume = volume[..., 0] if len(self.order) == 2 else volume
        axes = tuple(axis for axis, flip in enumerate(self.flips) if flip)
        return np.ascontiguousarray(np.flip(volume.transpose(self.order), axes))

    @property
    def affine(self) -> NDArray[np.float64]:
        """(4, 4) from the file's voxel index to RAS+ mm."""
        affine = np.diag([*self.spacing, 1.0])
        affine[:3, 3] = self.start + self.offset
        turn = np.eye(4)
        for axis, (patient_axis, flip) in enumerate(zip(self.order, self.flips, strict=True)):
            turn[:, axis] = 0.0
            turn[patient_axis, axis] = -1.0 if flip else 1.0
            turn[patient_axis, 3] = self.shape[patient_axis] - 1 if flip else 0.0
        return affine @ turn

    @property
    def voxel_volume_ml(self) -> float:
        """A 2D slice counts as 1 mm thick."""
        return float(np.prod(self.spacing)) / 1000.0


@dataclass(frozen=True)
class Scan:
    """All images of one scan, on the file's axes: int16 images, a uint8 label map, lesion volumes (ml) over time."""

    affine: NDArray[np.float64]
    spacing: tuple[float, ...]
    image: NDArray[np.int16]
    second: NDArray[np.int16]
    clean: NDArray[np.int16]
    label: NDArray[np.uint8]
    followup: tuple[NDArray[np.int16], ...]
    followup_volume_ml: tuple[float, ...]

    @property
    def boxes(self) -> list[list[int]]:
        """A box per lesion (connected component): [min of each axis, max of each axis], voxels, half-open."""
        found = ndimage.find_objects(ndimage.label(self.label == LESION)[0])
        return [[int(s.start) for s in box] + [int(s.stop) for s in box] for box in found]


def draw_grid(rng: np.random.Generator, patient: Patient, spatial_dims: int) -> Grid:
    """A field of view around the body: about 50x44x32 voxels in 3D, 68x59 in 2D."""
    in_plane = rng.uniform(1.6, 2.4) if spatial_dims == 3 else rng.uniform(1.3, 1.7)
    spacing = np.array([in_plane, in_plane, rng.uniform(2.3, 3.6) if spatial_dims == 3 else 1.0]).round(3)
    extent = 2 * patient.body.radii + rng.uniform(11.0, 17.0, 3)
    extent[2] = rng.uniform(88.0, 100.0)
    shape = np.round(extent / spacing).astype(int)
    shape[2] = shape[2] if spatial_dims == 3 else 1
    shift = rng.uniform(-1.5, 1.5, 3) * (shape > 1)
    return Grid(
        shape=tuple(int(n) for n in shape),
        spacing=spacing,
        start=-(shape - 1) / 2 * spacing + shift,
        offset=rng.uniform(-80, 80, 3).round(1),
        order=tuple(int(axis) for axis in rng.permutation(spatial_dims)),
        flips=tuple(bool(flip) for flip in rng.random(spatial_dims) < 0.5),
    )


def cover(distance: Array) -> Array:
    """The part of a voxel inside a surface, from its distance in mm."""
    return np.clip(0.5 - distance / EDGE, 0.0, 1.0)


def anatomy(patient: Patient, rest: Array) -> tuple[Array, NDArray[np.uint8], Array]:
    """Signal (2, N) of the body without lesions, its labels (N,), and the part of each voxel that is liver (N,)."""
    liver, kidney = patient.liver(rest), patient.kidney(rest)
    layers = {
        "fat": patient.body.distance(rest),
        "muscle": patient.inside(rest),
        "bone": patient.spine.distance(rest),
        "liver": liver,
        "kidney": kidney,
    }
    signal = np.repeat(np.array(patient.tissues["air"], np.float32)[:, None], len(rest), axis=1)
    for tissue, distance in layers.items():
        signal += cover(distance) * (np.array(patient.tissues[tissue], np.float32)[:, None] - signal)
    label = np.zeros(len(rest), np.uint8)
    label[liver < 0] = LIVER
    label[kidney < 0] = KIDNEY
    return signal, label, cover(liver)


def add_lesions(
    patient: Patient, rest: Array, base: tuple[Array, NDArray[np.uint8], Array], time: int
) -> tuple[Array, NDArray[np.uint8]]:
    """Signal (2, N) and labels (N,) with the lesions as large as at `time`; a lesion never leaves the liver."""
    signal, label, liver = base[0].copy(), base[1].copy(), base[2]
    near = np.flatnonzero(liver > 0)
    for lesion in patient.lesions:
        distance = lesion.distance(rest[near], time)
        own = np.array([[a * b] for a, b in zip(patient.tissues["liver"], lesion.contrast, strict=True)], np.float32)
        signal[:, near] += cover(distance) * liver[near] * (own - signal[:, near])
        inside = near[distance < 0]
        label[inside[base[1][inside] == LIVER]] = LESION
    return signal, label


def noisy(rng: np.random.Generator, signal: Array, sigma: float, rician: bool) -> Array:
    """Gaussian noise, or that of a magnitude image (Gudbjartsson and Patz 1995, doi:10.1002/mrm.1910340618)."""
    real = signal + sigma * rng.standard_normal(signal.shape, dtype=np.float32)
    if not rician:
        return real
    return np.hypot(real, sigma * rng.standard_normal(signal.shape, dtype=np.float32))


def draw_scan(patient: Patient, seed: int, index: int, part: int, spatial_dims: int) -> Scan:
    """Scan `part` of patient `index`: depends on these and the seed alone."""
    rng = generator(3, index, 2 * part + spatial_dims - 2, seed)
    grid = draw_grid(rng, patient, spatial_dims)
    points = grid.points()
    rest = patient.rest(points)
    gain, sigma, rician = rng.uniform(0.85, 1.15), rng.uniform(0.03, 0.06), bool(rng.random() < 0.5)
    texture = ndimage.gaussian_filter(rng.standard_normal(grid.shape, dtype=np.float32), 1.0).ravel()
    field = np.exp(Waves.draw(rng, 0.08, (120.0, 220.0))(points)) * (1 + 0.02 * texture / texture.std()) * gain

    def volume(signal: Array) -> NDArray[np.int16]:
        return grid.turned(np.round(signal * FULL_SCALE).astype(np.int16).reshape(grid.shape))

    base = anatomy(patient, rest)
    series = [add_lesions(patient, rest, base, time) for time in range(FOLLOWUPS)]
    (first, second), label = series[0]
    return Scan(
        affine=grid.affine,
        spacing=tuple(float(step) for step in grid.spacing[list(grid.order)]),
        image=volume(noisy(rng, first * field, sigma, rician)),
        second=volume(noisy(rng, second * field, sigma, rician)),
        clean=volume(first * field),
        label=grid.turned(label.reshape(grid.shape)),
        followup=tuple(volume(noisy(rng, signal[0] * field, sigma, rician)) for signal, _ in series),
        followup_volume_ml=tuple(float((at == LESION).sum()) * grid.voxel_volume_ml for _, at in series),
    )


def nifti(array: NDArray, affine: NDArray[np.float64]) -> nib.Nifti1Image:
    """A NIfTI image in mm that names its frame as that of the scanner."""
    image = nib.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    return image
