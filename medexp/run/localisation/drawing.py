"""Figures of maps: the image, the map over it, and the outline of what is really there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from medexp.run.figures import Array, picture

DASHES, CROSS = "cyan", "#39ff14"


@dataclass(frozen=True)
class Named:
    """What the words of a figure say: its title, what drew the map, and the map's threshold. cross: whether one voxel can
    have the largest value, as in maps of bags none can."""

    title: str
    method: str
    threshold: float
    cross: bool = True


def shown_slice(values: Array, truth: Array | None) -> int:
    """Of a volume (*spatial) the slice with most of the mask; without one, that with the map's largest value."""
    areas = None if truth is None else truth.sum(axis=(0, 1))
    if areas is None or not areas.any():
        areas = values.max(axis=(0, 1))
    return int(areas.argmax())


def overlay(image: Array, values: Array, truth: Array | None, named: Named) -> Any:
    """An image (C, *spatial) beside itself under a map (*spatial) from 0 to 1, on one grid; of a volume `shown_slice`.

    White: the outline of the mask; dashed: the map at its threshold; a cross: its largest value in this slice.
    """
    from matplotlib.figure import Figure

    grey, shown, mask = _planes(image, values, truth)
    figure = Figure(figsize=(7.6, 4.6), layout="constrained")
    figure.suptitle(named.title, fontsize=10)
    left, right = figure.subplots(1, 2)
    for axes, name in ((left, "image"), (right, "map over the image")):
        axes.imshow(grey, cmap="gray", interpolation="nearest")
        axes.set_title(name, fontsize=9)
        axes.set_axis_off()
    drawn = right.imshow(shown, cmap="inferno", alpha=0.25 + 0.45 * np.clip(shown, 0, 1), vmin=0, vmax=1)
    handles = []
    if _has_edge(mask):
        handles.append(_line("white", "-", "reference mask or box"))
        for axes in (left, right):
            axes.contour(mask, [0.5], colors="white", linewidths=1)
    if _has_edge(reached := shown >= named.threshold):
        handles.append(_line(DASHES, "--", f"map from its threshold ({named.threshold:.2f}) on"))
        right.contour(reached, [0.5], colors=DASHES, linestyles="--", linewidths=1)
    if named.cross and shown.max() > 0:
        row, column = np.unravel_index(int(shown.argmax()), shown.shape)
        right.plot(column, row, "+", color=CROSS, markersize=9)
        handles.append(
            _line(CROSS, "", "largest value of the map in this slice" if values.ndim == 3 else "largest value")
        )
    figure.colorbar(drawn, ax=right, shrink=0.8, label=f"{named.method}: 0 least, 1 most\nin the whole image")
    explain(figure, handles)
    return figure


def explain(figure: Any, handles: list[Any]) -> None:
    """A legend on dark ground, where white can be seen."""
    if handles:
        look: dict[str, Any] = {"facecolor": "0.25", "labelcolor": "white", "fontsize": 8}
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), **look)


def _planes(image: Array, values: Array, truth: Array | None) -> tuple[Array, Array, Array | None]:
    """The picture, the map and the mask of the slice to draw."""
    if values.ndim == 2:
        return picture(image, turned=False), values, truth
    index = shown_slice(values, truth)
    mask = None if truth is None else np.rot90(truth[..., index])
    return picture(image[..., index], turned=True), np.rot90(values[..., index]), mask


def _has_edge(mask: Array | None) -> bool:
    return mask is not None and bool(mask.any()) and not bool(mask.all())


def _line(colour: str, style: Literal["-", "--", ""], label: str) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], color=colour, linestyle=style, marker="" if style else "+", label=label)
