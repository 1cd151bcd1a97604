"""The anatomy of a phantom patient: implicit shapes in millimetres, so that every scan grid can sample the same body.

Axes are the patient's own, RAS+: x grows to the right, y to the front, z to the head; the origin is the body's centre.
Every shape answers with a distance to its surface in mm, negative inside.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

BACKGROUND, LIVER, KIDNEY, LESION = range(4)
LABELS = ("background", "liver", "kidney", "lesion")
FOLLOWUPS = 4  # time points of a follow-up series; at the first the lesions are as in the scan, under other noise

# Mean signal of each tissue in the two modalities, as fractions of full scale (loosely T1- and T2-weighted MR).
TISSUES = {
    "air": (0.02, 0.02),
    "fat": (0.90, 0.62),
    "muscle": (0.32, 0.22),
    "bone": (0.72, 0.16),
    "liver": (0.60, 0.38),
    "kidney": (0.46, 0.80),
}


def generator(purpose: int, index: int, part: int, seed: int) -> np.random.Generator:
    """A stream of its own for each (purpose, index, part, seed), so that no draw moves another."""
    return np.random.default_rng([purpose, index, part, seed])


def rotation(rng: np.random.Generator, degrees: float, spatial_dims: int) -> Array:
    """(3, 3) small random rotation; in 2D about z only, so that the slice stays the slice."""
    angles = np.radians(rng.uniform(-degrees, degrees, 3))
    if spatial_dims == 2:
        angles[:2] = 0.0
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        first, second = [other for other in range(3) if other != axis]
        turn = np.eye(3)
        turn[first, first] = turn[second, second] = np.cos(angle)
        turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
        matrix = matrix @ turn
    return matrix.astype(np.float32)


@dataclass(frozen=True)
class Waves:
    """A smooth random scalar field: a few plane waves. `vectors` (K, 3) in radians per mm, `amplitudes` (K,)."""

    vectors: Array
    phases: Array
    amplitudes: Array

    @classmethod
    def draw(
        cls, rng: np.random.Generator, amplitude: float, wavelengths: tuple[float, float], number: int = 4
    ) -> Waves:
        directions = rng.normal(size=(number, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        vectors = directions * (2 * np.pi / rng.uniform(*wavelengths, size=(number, 1)))
        amplitudes = amplitude * rng.uniform(0.4, 1.0, number)
        phases = rng.uniform(0, 2 * np.pi, number)
        return cls(vectors.astype(np.float32), phases.astype(np.float32), amplitudes.astype(np.float32))

    def __call__(self, points: Array) -> Array:
        """`points` (N, 3) -> (N,)."""
        total = np.zeros(len(points), dtype=np.float32)
        for vector, phase, amplitude in zip(self.vectors, self.phases, self.amplitudes, strict=True):
            total += amplitude * np.sin(points @ vector + phase)
        return total


@dataclass(frozen=True)
class Ellipsoid:
    """`center` and `radii` (3,) in mm, `axes` (3, 3) its turned frame."""

    center: Array
    radii: Array
    axes: Array

    def distance(self, points: Array) -> Array:
        """Distance to the surface in mm, to first order (f / |grad f|); `points` (N, 3) -> (N,)."""
        local = (points - self.center) @ self.axes
        length = np.linalg.norm(local / self.radii, axis=1)
        slope = np.linalg.norm(local / self.radii**2, axis=1)
        return length * (length - 1) / np.maximum(slope, 1e-6)


@dataclass(frozen=True)
class Lesion:
    """A bumpy ball. `contrast` is its signal over that of the liver in the two modalities; `growth` acts on the radius.

    The bump is weak enough (|wave| * bump < 1) for the shape to be star-shaped: a larger copy always holds the smaller.
    """

    ball: Ellipsoid
    wave: Array
    phase: float
    contrast: tuple[float, float]
    growth: float
    bump: float = 0.12

    def distance(self, points: Array, time: int = 0) -> Array:
        """Distance to the surface in mm at a time point; `points` (N, 3) -> (N,)."""
        scale = self.growth**time
        local = (points - self.ball.center) @ self.ball.axes / (self.ball.radii * scale)
        shape = np.linalg.norm(local, axis=1) - 1 + self.bump * np.sin(local @ self.wave + self.phase)
        return shape * np.float32(self.ball.radii.mean() * scale)


@dataclass(frozen=True)
class Patient:
    """One body. `tissues` maps a tissue to its signal in the two modalities; `scans` is how often it was scanned."""

    body: Ellipsoid
    rim: float
    spine: Ellipsoid
    lobes: tuple[Ellipsoid, ...]
    kidneys: tuple[Ellipsoid, ...]
    lesions: tuple[Lesion, ...]
    warp: tuple[Waves, ...]
    tissues: dict[str, tuple[float, float]]
    scans: int

    def rest(self, points: Array) -> Array:
        """Where each point of the deformed body lies in the undeformed one, (N, 3) -> (N, 3), mm."""
        moved = points.copy()
        for axis, wave in enumerate(self.warp):
            moved[:, axis] += wave(points)
        return moved

    def inside(self, rest: Array) -> Array:
        """Distance to the inner surface of the fat rim."""
        return self.body.distance(rest) + self.rim

    def kidney(self, rest: Array) -> Array:
        return np.minimum.reduce([kidney.distance(rest) for kidney in self.kidneys])

    def liver(self, rest: Array) -> Array:
        """The lobes, kept 2 mm within the rim and 1 mm off the kidneys."""
        lobes = np.minimum.reduce([lobe.distance(rest) for lobe in self.lobes])
        return np.maximum.reduce([lobes, self.inside(rest) + 2, 1 - self.kidney(rest)])


def has_lesions(seed: int, index: int) -> bool:
    """One of each two successive patients is ill: balanced at any number of patients, yet unknown for each."""
    return bool((index + generator(1, index // 2, 0, seed).integers(2)) % 2)


def draw_patient(seed: int, index: int, spatial_dims: int) -> Patient:
    """Patient `index` of `seed`: depends on nothing else, so that more patients leave the first ones as they are."""
    rng = generator(2, index, spatial_dims, seed)
    size = rng.uniform(0.92, 1.08)
    solid = np.array([1.0, 1.0, float(spatial_dims == 3)])  # a 2D phantom is the slice through all centres

    def organ(center: tuple[float, ...], radii: tuple[float, ...], shift: float = 3.0, turn: float = 15.0) -> Ellipsoid:
        place = (np.array(center) + rng.uniform(-shift, shift, 3)) * size * solid
        extent = np.array(radii) * rng.uniform(0.88, 1.12, 3) * size
        return Ellipsoid(place.astype(np.float32), extent.astype(np.float32), rotation(rng, turn, spatial_dims))

    warp = tuple(Waves.draw(rng, 1.3, (55.0, 100.0)) for _ in range(spatial_dims))
    tissues = {name: (a * rng.uniform(0.93, 1.07), b * rng.uniform(0.93, 1.07)) for name, (a, b) in TISSUES.items()}
    body = Ellipsoid(
        np.zeros(3, np.float32),
        (np.array([45.0, 38.0, 110.0]) * rng.uniform(0.96, 1.04, 3) * size).astype(np.float32),
        np.eye(3, dtype=np.float32),
    )
    healthy = Patient(
        body=body,
        rim=float(rng.uniform(3.5, 6.5)),
        spine=organ((0, -22, 0), (6.5, 6.0, 400.0), shift=1.0, turn=2.0),
        lobes=(organ((18, 4, 7), (18, 21, 25)), organ((1, 15, 12), (18, 11, 14))),
        kidneys=(organ((21, -15, -14), (8.5, 9, 14)), organ((-22, -14, -8), (8.5, 9, 14))),
        lesions=(),
        warp=warp,
        tissues=tissues,
        scans=1 + int(rng.random() < 0.3),
    )
    lesions = draw_lesions(rng, healthy, spatial_dims) if has_lesions(seed, index) else ()
    return replace(healthy, lesions=lesions)


def draw_lesions(rng: np.random.Generator, patient: Patient, spatial_dims: int) -> tuple[Lesion, ...]:
    """One to four lesions in the liver, apart from each other; one that finds no room is left out, the first never."""
    points = rng.uniform(-50, 50, (8000, 3)).astype(np.float32)
    if spatial_dims == 2:
        points[:, 2] = 0.0
    depth = -patient.liver(points)
    points, depth = points[depth > 2], depth[depth > 2]
    lesions: list[Lesion] = []
    for _ in range(int(rng.integers(1, 5))):
        radius = float((4.5 if lesions else 6.0) + 6.0 * rng.beta(1.2, 2.0))
        room = depth > 0.85 * radius
        for other in lesions:
            room &= np.linalg.norm(points - other.ball.center, axis=1) > 1.2 * (other.ball.radii.max() + radius) + 6
        places = np.flatnonzero(room)
        if len(places) == 0 and lesions:
            continue
        place = int(rng.choice(places)) if len(places) else int(depth.argmax())
        lesions.append(draw_lesion(rng, points[place], radius, spatial_dims))
    return tuple(lesions)


def draw_lesion(rng: np.random.Generator, center: Array, radius: float, spatial_dims: int) -> Lesion:
    """A lesion of about `radius` mm: darker than the liver in modality 0, brighter than it in modality 1."""
    radii = (radius * rng.uniform(0.85, 1.15, 3)).astype(np.float32)
    direction = rng.normal(size=3)
    return Lesion(
        ball=Ellipsoid(center, radii, rotation(rng, 90.0, spatial_dims)),
        wave=(direction / np.linalg.norm(direction) * 3.0).astype(np.float32),
        phase=float(rng.uniform(0, 2 * np.pi)),
        contrast=(rng.uniform(0.15, 0.5), 1 + rng.uniform(0.4, 1.0)),
        growth=float(rng.uniform(1.08, 1.22)),
    )
