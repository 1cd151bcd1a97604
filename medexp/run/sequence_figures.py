"""Figures of what was predicted for the next frames of a study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medexp.run.figures import picture

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Course:
    """A study: when each frame was taken, the value at each, and what was predicted for the last of them."""

    case_id: str
    times: Sequence[float]
    values: Sequence[float]
    predicted: Sequence[float]


def courses(studies: Sequence[Course]) -> Any:
    """Values over time: known, true, predicted, and the last known one carried on."""
    from matplotlib.figure import Figure

    columns = min(len(studies), 4)
    lines = -(-len(studies) // columns)
    figure = Figure(figsize=(3.0 * columns, 2.6 * lines + 0.5), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False, sharey=True).ravel()
    for axes in grid[len(studies) :]:
        axes.set_axis_off()
    for axes, study in zip(grid, studies, strict=False):
        seen = len(study.values) - len(study.predicted)
        later = study.times[seen - 1 :]
        axes.plot(study.times[:seen], study.values[:seen], "o-", color="tab:gray", label="known")
        axes.plot(later, [study.values[seen - 1]] * len(later), ":", color="tab:orange", label="last frame")
        axes.plot(study.times[seen:], study.values[seen:], "o", color="black", label="true")
        axes.plot(study.times[seen:], study.predicted, "x", color="tab:blue", markersize=8, label="predicted")
        axes.set_title(study.case_id, fontsize=9)
        axes.set_xlabel("time")
        axes.set_ylabel("value")
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return figure


def against_target(rows: Sequence[dict[str, Any]]) -> Any:
    """Predicted against true values, a panel a horizon; where nothing had changed since the last frame, too."""
    from matplotlib.figure import Figure

    ahead = [int(key.removeprefix("target_")) for key in rows[0] if key.startswith("target_")]
    figure = Figure(figsize=(4.2 * len(ahead), 4.2), layout="constrained")
    for axes, k in zip(figure.subplots(1, len(ahead), squeeze=False).ravel(), ahead, strict=True):
        true = np.asarray([row[f"target_{k}"] for row in rows])
        last, said = (np.asarray([row[key] for row in rows]) for key in ("last_frame", f"predicted_{k}"))
        low, high = min(true.min(), said.min(), last.min()), max(true.max(), said.max(), last.max())
        axes.plot([low, high], [low, high], color="lightgray", zorder=0)
        axes.plot(
            true, last, "o", color="tab:orange", alpha=0.6, markersize=4, label=f"last frame, MAE {_mae(last, true)}"
        )
        axes.plot(
            true, said, "o", color="tab:blue", alpha=0.8, markersize=4, label=f"predicted, MAE {_mae(said, true)}"
        )
        axes.set_xlabel("true value")
        axes.set_ylabel("value that was said")
        axes.set_title(f"{k} frame{'s' * (k > 1)} ahead", fontsize=10)
        axes.legend(frameon=False, fontsize=8)
    return figure


def _mae(said: Array, true: Array) -> str:
    return f"{np.abs(said - true).mean():.3g}"


def frames(last: Array, true: Array, predicted: Array, errors: tuple[float, float], title: str) -> Any:
    """Last, true and predicted frame (C, *spatial), and where the last frame and the prediction err; in volumes the slice
    where most changes. errors: mean absolute errors of the two."""
    from matplotlib.figure import Figure

    planes = _planes(last, true, predicted)
    difference = [np.abs(plane - planes[1]).mean(axis=0) for plane in (planes[0], planes[2])]
    top = float(np.percentile(difference[0], 99.5)) or 1.0
    volume = last.ndim == 4
    figure = Figure(figsize=(13, 3.2), layout="constrained")
    figure.suptitle(title)
    grid = figure.subplots(1, 5)
    for axes, name, plane in zip(grid, ("last frame", "next frame", "predicted"), planes, strict=False):
        axes.imshow(picture(plane, turned=volume), cmap="gray", interpolation="nearest")
        axes.set_title(name, fontsize=10)
    said = (f"error of the last frame\nmean {errors[0]:.4f}", f"error of the prediction\nmean {errors[1]:.4f}")
    for axes, name, plane in zip(grid[3:], said, difference, strict=True):
        shown = axes.imshow(
            np.rot90(plane) if volume else plane, cmap="magma", vmin=0, vmax=top, interpolation="nearest"
        )
        axes.set_title(name, fontsize=10)
    figure.colorbar(shown, ax=grid[-1], shrink=0.8, label="standard deviations")
    for axes in grid:
        axes.set_axis_off()
    return figure


def _planes(last: Array, true: Array, predicted: Array) -> tuple[Array, Array, Array]:
    if last.ndim < 4:
        return last, true, predicted
    index = int(np.abs(true - last).sum(axis=(0, 1, 2)).argmax())
    return last[..., index], true[..., index], predicted[..., index]
