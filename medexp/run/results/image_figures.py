"""Figures of images made from images: what went in, what came out, what it should be, and where it errs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medexp.metrics.baselines import FITTED
from medexp.metrics.table import mean, number
from medexp.run.planes import SCALE

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Case:
    """Planes (rows, columns) by what made them, `input`, `network`, `reference` and baselines, with the PSNR (dB) of each."""

    title: str
    planes: Mapping[str, Array]
    psnr: Mapping[str, float | None]

    @property
    def error(self) -> Array:
        return np.abs(self.planes["network"] - self.planes["reference"])


def best_baseline(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str | None:
    """The one with the largest mean PSNR that is no bound fitted to the reference, if there is such a one; never the input."""
    means = {}
    for name in names:
        known = [value for row in rows if (value := number(row.get(f"psnr_{name}"))) is not None]
        if known and name != "input":
            means[name] = mean(known) or 0.0
    free = [name for name in means if name not in FITTED]
    return max(free or means, key=lambda name: means[name], default=None)


def side_by_side(case: Case, baseline: str | None, end: float, unit: str, channels: int = 1) -> Any:
    """One row: input, baseline, network and reference at the reference's window, and the error from 0 to `end`."""
    from matplotlib.figure import Figure

    names = [name for name in ("input", baseline, "network", "reference") if name is not None and name in case.planes]
    low, high = np.percentile(case.planes["reference"], (0.5, 99.5))
    figure = Figure(figsize=(2.5 * len(names) + 3.2, 3.7), layout="constrained")
    figure.suptitle(case.title)
    axes = figure.subplots(1, len(names) + 1)
    for place, name in zip(axes[:-1], names, strict=True):
        place.imshow(case.planes[name], cmap="gray", vmin=low, vmax=high, interpolation="nearest")
        place.set_title(_said(name, case.psnr.get(name), channels), fontsize=9)
    drawn = axes[-1].imshow(case.error, cmap="magma", vmin=0, vmax=end, interpolation="nearest")
    axes[-1].set_title("absolute error\nof the network", fontsize=9)
    figure.colorbar(drawn, ax=axes[-1], shrink=0.8, extend="max", label=unit)
    for place in axes:
        place.set_axis_off()
    figure.supxlabel(f"grey: percentiles 0.5 to 99.5 of the reference; {SCALE}", fontsize=8)
    return figure


def _said(name: str, psnr: float | None, channels: int) -> str:
    what = name.replace("_", " ")
    if name == "input" and channels > 1:
        what = f"input (channel 1 of {channels})"
    if name in FITTED:
        what = f"{what} (fitted to the reference)"
    return f"{what}\n{'' if psnr is None else f'PSNR {psnr:.1f} dB'}"


def middle_plane(image: Array) -> Array:
    """(C, *spatial) to (rows, columns) of the first channel: the middle slice of a volume, its second axis up."""
    plane = image[0]
    return np.rot90(plane[..., plane.shape[-1] // 2]) if plane.ndim == 3 else plane
