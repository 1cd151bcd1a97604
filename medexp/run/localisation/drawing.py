"""Figures of maps: the image, the map over it, and the outline of what is really there."""

from __future__ import annotations

from typing import Any

import numpy as np

from medexp.run.figures import Array, picture


def overlay(image: Array, values: Array, truth: Array | None, threshold: float, title: str) -> Any:
    """An image (C, *spatial) beside itself under a map (*spatial) from 0 to 1, on one grid.

    White: the outline of the mask; dashed: the map at its threshold; a cross: its largest value. Of a volume the slice with
    most of the mask, or the one with the map's largest value.
    """
    from matplotlib.figure import Figure

    planes = [image, values, truth]
    if values.ndim == 3:
        areas = None if truth is None else truth.sum(axis=(0, 1))
        if areas is None or not areas.any():
            areas = values.max(axis=(0, 1))
        index = int(areas.argmax())
        planes = [None if one is None else one[..., index] for one in planes]
    turned = values.ndim == 3
    plane, shown, mask = (
        one if one is None or not turned or place == 0 else np.rot90(one) for place, one in enumerate(planes)
    )
    assert plane is not None
    assert shown is not None
    grey = picture(plane, turned=turned)
    figure = Figure(figsize=(7.2, 3.8), layout="constrained")
    figure.suptitle(title, fontsize=10)
    left, right = figure.subplots(1, 2)
    for axes in (left, right):
        axes.imshow(grey, cmap="gray", interpolation="nearest")
        axes.set_axis_off()
    drawn = right.imshow(shown, cmap="inferno", alpha=0.25 + 0.45 * np.clip(shown, 0, 1), vmin=0, vmax=1)
    for axes, line, where in ((left, "-", mask), (right, "-", mask), (right, "--", shown >= threshold)):
        if where is not None and where.any() and not where.all():
            axes.contour(
                where.astype(float), [0.5], colors="white" if line == "-" else "cyan", linestyles=line, linewidths=1
            )
    row, column = np.unravel_index(int(shown.argmax()), shown.shape)
    right.plot(column, row, "+", color="#39ff14", markersize=9)
    figure.colorbar(drawn, ax=right, shrink=0.8)
    return figure
