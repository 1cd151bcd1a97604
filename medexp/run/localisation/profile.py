"""Figures of the attention of bags of slices: how much each slice counts, and which of them hold the class."""

from __future__ import annotations

from typing import Any

import numpy as np

from medexp.run.figures import Array, picture
from medexp.run.localisation.drawing import explain


def profile(image: Array, mask: Array | None, weights: Array, plane: str, title: str) -> Any:
    """weights: (N,), 1 in sum, of the slices along the last axis of a prepared image (C, *spatial, N); mask: where the class is,
    boolean (*spatial, N), or None. The slice with most of the class and the one that counts most, above the weights of all."""
    from matplotlib.figure import Figure

    chosen = {"counts most": int(weights.argmax())}
    if mask is not None and mask.any():
        chosen = {"most of the class": int(mask.sum(axis=(0, 1)).argmax()), **chosen}
    figure = Figure(figsize=(7.6, 6.0), layout="constrained")
    figure.suptitle(title, fontsize=10)
    parts: Any = figure.subfigures(2, 1, height_ratios=[1.3, 1])
    above, below = parts
    for axes, (name, index) in zip(above.subplots(1, len(chosen), squeeze=False)[0], chosen.items(), strict=True):
        axes.imshow(picture(image[..., index], turned=True), cmap="gray", interpolation="nearest")
        outline = None if mask is None else np.rot90(mask[..., index])
        if outline is not None and outline.any() and not outline.all():
            axes.contour(outline, [0.5], colors="white", linewidths=1)
        axes.set_title(f"{name}: {plane} {index + 1} (weight {weights[index]:.4f})", fontsize=9)
        axes.set_axis_off()
    _weights(below.subplots(), mask, weights, plane)
    if len(chosen) > 1:
        explain(figure, [_outline()])
    return figure


def _weights(axes: Any, mask: Array | None, weights: Array, plane: str) -> None:
    numbers = np.arange(1, len(weights) + 1)
    if mask is not None:
        for number in numbers[mask.any(axis=(0, 1))]:
            label = "holds the class" if not axes.patches else None
            axes.axvspan(number - 0.5, number + 0.5, color="tab:orange", alpha=0.3, linewidth=0, label=label)
    axes.plot(numbers, weights, ".-", color="tab:blue", label="attention")
    axes.axhline(1 / len(weights), color="gray", linestyle=":", label="all alike")
    axes.set_xlim(0.5, len(weights) + 0.5)
    axes.set_ylim(0, 1.2 * max(float(weights.max()), 1 / len(weights)))
    axes.set_xlabel(f"{plane} (counted from 1, of the prepared image)")
    axes.set_ylabel("weight (1 in sum)")
    axes.legend(fontsize=8)


def _outline() -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], color="white", label="reference mask")
