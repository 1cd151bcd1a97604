"""Figures of reconstructions: an image, what came back of it, where the error is, and where the finding is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medexp.metrics.anomaly import error
from medexp.run.planes import SCALE, slice_name

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Reconstruction:
    """Planes (rows, columns) of a case, of its finding a boolean one or None."""

    image: Array
    made: Array
    error: Array
    finding: Array | None
    title: str


def cut(image: Array, made: Array, finding: Array | None, affine: Array, words: Sequence[str]) -> Reconstruction:
    """Of (C, *spatial) the slice with most of the finding (bool, *spatial), or the middle one. words: of the title, beside
    the name of the slice."""
    planes = [image[0], made[0], error(image, made)]
    index = image.shape[-1] // 2
    if image.ndim == 4:
        if finding is not None and finding.any():
            index = int(finding.sum(axis=(0, 1)).argmax())
        planes = [np.rot90(plane[..., index]) for plane in planes]
        finding = None if finding is None else np.rot90(finding[..., index])
    title = ", ".join(filter(None, [*words, slice_name(image.shape[1:], affine, index)]))
    return Reconstruction(planes[0], planes[1], planes[2], finding, title)


def panels(case: Reconstruction, end: float, unit: str) -> Any:
    """One row; the error from 0 to `end`, in the unit of the prepared image."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    low, high = np.percentile(case.image, (0.5, 99.5))
    figure = Figure(figsize=(10, 4.1), layout="constrained")
    figure.suptitle(case.title)
    axes = figure.subplots(1, 3)
    for place, plane, name in zip(axes, (case.image, case.made), ("image", "reconstruction"), strict=False):
        place.imshow(plane, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
        place.set_title(name, fontsize=10)
    drawn = axes[2].imshow(case.error, cmap="magma", vmin=0, vmax=end, interpolation="nearest")
    axes[2].set_title("absolute error", fontsize=10)
    figure.colorbar(drawn, ax=axes[2], shrink=0.8, extend="max", label=unit)
    outlined = case.finding is not None and case.finding.any()
    for place in axes:
        place.set_axis_off()
        if outlined:
            place.contour(case.finding, levels=[0.5], colors="cyan", linewidths=0.8)
    if outlined:
        line = Line2D([], [], color="cyan", label="reference mask")
        axes[0].legend(handles=[line], loc="lower left", fontsize=8, facecolor="black", labelcolor="white")
    figure.supxlabel(f"grey: percentiles 0.5 to 99.5 of the image; {SCALE}", fontsize=8)
    return figure
