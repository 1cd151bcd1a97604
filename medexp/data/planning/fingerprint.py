"""What a data set is like, in numbers: the fingerprint that a plan is made from.

After nnU-Net's fingerprint (Isensee et al., Nature Methods 18:203, 2021, supplement 2.2): shapes, spacings and the
intensities of the foreground. Give it the training cases alone, so that nothing of the test split is known to the plan.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from medexp.data.checks.facts import CaseFacts
from medexp.errors import Faults, UserError

PERCENTILES = (10, 50, 90)
POINTS = 1000  # values drawn from each case's quantile function, at evenly spaced probabilities
AIR = (-4096.0, -500.0)  # HU: between these lies the darkest voxel of a CT, air (-1000), lung, or the scanner's padding
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Foreground:
    """Intensities of one channel within the label maps, each case counting alike."""

    mean: float
    std: float
    percentile_00_5: float
    median: float
    percentile_99_5: float


@dataclass(frozen=True)
class Channel:
    """One channel: lowest and highest value of all cases, mean over the cases of their mean and standard deviation.

    modality: "ct" where the median over the cases of their darkest voxel lies between -4096 and -500, as it does in HU
    when air or lung is in the field of view; "other" else. A CT that shows soft tissue alone is not recognised.
    foreground: None where no case has a label map with foreground. missing: cases that lack the channel.
    """

    minimum: float
    maximum: float
    mean: float
    std: float
    modality: str
    foreground: Foreground | None
    missing: int


@dataclass(frozen=True)
class ClassVolume:
    """A foreground class: share of the cases that show it; medians over those, millilitres in 3D."""

    present: float
    voxels: float
    ml: float | None


@dataclass(frozen=True)
class Fingerprint:
    """shapes (voxels) and spacings (mm): a row a case, axes in the order of `orientation` (that of the files where None).

    boxes: shapes of the box around the voxels that are not 0. box_share: median share of the volume within that box;
    nonzero_fraction: median share of the voxels themselves. classes: by name, without the background.
    """

    cases: int
    orientation: str | None
    shapes: tuple[tuple[int, ...], ...]
    boxes: tuple[tuple[int, ...], ...]
    spacings: tuple[tuple[float, ...], ...]
    channels: tuple[Channel, ...]
    classes: dict[str, ClassVolume]
    nonzero_fraction: float
    box_share: float

    @property
    def spatial_dims(self) -> int:
        return len(self.shapes[0])

    @property
    def median_shape(self) -> tuple[float, ...]:
        """Voxels an axis."""
        return tuple(map(float, np.median(self.shapes, axis=0)))

    def spacing(self, percentile: float) -> tuple[float, ...]:
        """A percentile of the spacing, each axis by itself, in mm."""
        return tuple(map(float, np.percentile(self.spacings, percentile, axis=0)))

    @property
    def anisotropy(self) -> float:
        """Longest over shortest edge of the median voxel."""
        return max(self.spacing(50)) / min(self.spacing(50))

    def to_json(self) -> dict[str, Any]:
        """All numbers, and the medians and percentiles that follow from them."""
        derived = {
            "median_shape": self.median_shape,
            "spacing_percentiles": {str(percent): self.spacing(percent) for percent in PERCENTILES},
            "anisotropy": self.anisotropy,
        }
        return {**derived, **asdict(self)}


def fingerprint(facts: dict[str, CaseFacts], classes: Sequence[str], orientation: str | None = None) -> Fingerprint:
    """The fingerprint of training cases, facts by case id. orientation: axis codes that volumes are turned to ("RAS").

    Raises Faults with every error of the cases, or naming those that differ in kind; UserError where there are no cases.
    """
    if bad := [fault for one in facts.values() for fault in one.errors]:
        raise Faults(
            f"{len(bad)} faults in {len(facts)} training cases (`medexp check --exclude-bad` leaves them out)", bad
        )
    if not facts:
        raise UserError("plan: the training split holds no cases; see dataset.split")
    cases = list(facts.values())
    first = _kind(cases[0])
    if odd := [f"case {name}: {_kind(one)}" for name, one in facts.items() if _kind(one) != first]:
        raise Faults(f"{len(odd)} of {len(facts)} training cases differ from the first ({first}); leave them out", odd)
    orders = [_order(one, orientation) for one in cases]
    labelled = any(one.classes for one in cases)
    return Fingerprint(
        cases=len(cases),
        orientation=orientation,
        shapes=_turned((one.shape for one in cases), orders),
        boxes=_turned((one.nonzero_shape for one in cases), orders),
        spacings=_turned((one.spacing for one in cases), orders),
        channels=tuple(_channel(cases, index) for index in range(len(cases[0].intensity))),
        classes={name: _volume(cases, value) for value, name in enumerate(classes) if value and labelled},
        nonzero_fraction=float(np.median([one.nonzero_fraction for one in cases])),
        box_share=float(np.median([np.prod(one.nonzero_shape) / np.prod(one.shape) for one in cases])),
    )


def _kind(facts: CaseFacts) -> str:
    return f"{len(facts.shape)} axes, {len(facts.intensity)} channels"


def _order(facts: CaseFacts, orientation: str | None) -> list[int]:
    """Which axis of the file comes first, second, third once the volume is turned."""
    dims = len(facts.shape)
    if orientation is None or dims != 3 or len(facts.axes) != 3 or "?" in facts.axes:
        return list(range(dims))
    held, wanted = (nib.orientations.axcodes2ornt(tuple(codes)) for codes in (facts.axes, orientation))
    turn = nib.orientations.ornt_transform(held, wanted)[:, 0]
    return [int(axis) for axis in np.argsort(turn)]


def _turned(rows: Iterable[Sequence[Any]], orders: Sequence[Sequence[int]]) -> tuple[tuple[Any, ...], ...]:
    return tuple(tuple(row[axis] for axis in order) for row, order in zip(rows, orders, strict=True))


def _channel(cases: Sequence[CaseFacts], index: int) -> Channel:
    values = [one.intensity[index] for one in cases]
    table = np.asarray([value for value in values if value is not None])  # (cases, 4)
    if not len(table):
        raise UserError(f"plan: no training case has channel {index}; leave it out of dataset.source and in_channels")
    darkest = float(np.median(table[:, 0]))
    return Channel(
        minimum=float(table[:, 0].min()),
        maximum=float(table[:, 1].max()),
        mean=float(table[:, 2].mean()),
        std=float(table[:, 3].mean()),
        modality="ct" if AIR[0] <= darkest <= AIR[1] else "other",
        foreground=_pooled([one.foreground[index] for one in cases if index < len(one.foreground)]),
        missing=values.count(None),
    )


def _pooled(parts: Sequence[Any]) -> Foreground | None:
    """The mixture of the cases' foregrounds in equal parts (nnU-Net draws equally many voxels from each).

    Percentiles of values drawn at evenly spaced probabilities from each case's quantile function; mean and variance of
    a mixture: the mean of the means, and the mean of the squares less its square.
    """
    parts = [part for part in parts if part is not None]
    if not parts:
        return None
    probabilities = (np.arange(POINTS) + 0.5) / POINTS
    steps = np.linspace(0.0, 1.0, len(parts[0].quantiles))
    drawn = np.concatenate([np.interp(probabilities, steps, part.quantiles) for part in parts])
    low, median, high = np.percentile(drawn, (0.5, 50, 99.5), method="hazen")
    means, stds = np.asarray([(part.mean, part.std) for part in parts], dtype=np.float64).T
    centre = float(means.mean())
    spread = float(np.sqrt(np.mean(stds**2 + (means - centre) ** 2)))
    return Foreground(centre, spread, float(low), float(median), float(high))


def _volume(cases: Sequence[CaseFacts], value: int) -> ClassVolume:
    shown = [one for one in cases if one.classes.get(value)]
    if not shown:
        return ClassVolume(0.0, 0.0, 0.0 if len(cases[0].shape) == 3 else None)
    voxels = [one.classes[value] for one in shown]
    ml = [count * float(np.prod(one.spacing)) / 1000 for count, one in zip(voxels, shown, strict=True)]
    solid = len(cases[0].shape) == 3
    return ClassVolume(len(shown) / len(cases), float(np.median(voxels)), float(np.median(ml)) if solid else None)
