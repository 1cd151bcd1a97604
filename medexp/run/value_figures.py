"""Figures of predicted measures: against the identity, and their differences (Bland and Altman 1986)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medexp.metrics.regression import LIMIT

Rows = Sequence[Mapping[str, Any]]


def against_identity(rows: Rows, targets: Mapping[str, tuple[str, str]]) -> Any:
    """Prediction over label, a panel a target. targets: name -> (column, unit)."""
    figure, panels = _panels(len(targets))
    for axes, (name, (column, unit)) in zip(panels, targets.items(), strict=True):
        truth, said = _numbers(rows, f"label_{column}"), _numbers(rows, f"prediction_{column}")
        low, high = min(truth.min(), said.min()), max(truth.max(), said.max())
        room = 0.05 * (high - low or 1.0)
        axes.plot([low - room, high + room], [low - room, high + room], color="grey", linewidth=1, label="identity")
        usual = _numbers(rows, f"mean_predictor_{column}")[0]
        axes.axhline(usual, color="tab:orange", linestyle=":", label=f"mean of the training split, {usual:.3g}")
        axes.scatter(truth, said, s=18, color="tab:blue", alpha=0.8, label=f"{len(rows)} cases")
        axes.set_xlim(low - room, high + room)
        axes.set_ylim(low - room, high + room)
        axes.set_aspect("equal")
        axes.set_xlabel(f"label{_in(unit)}")
        axes.set_ylabel(f"prediction{_in(unit)}")
        axes.set_title(name, fontsize=10)
        axes.legend(fontsize=8, frameon=False, loc="upper left")
    return figure


def bland_altman(rows: Rows, targets: Mapping[str, tuple[str, str]]) -> Any:
    """Difference over mean of prediction and label, with the bias and its 95 % limits, a panel a target."""
    figure, panels = _panels(len(targets))
    for axes, (name, (column, unit)) in zip(panels, targets.items(), strict=True):
        truth, said = _numbers(rows, f"label_{column}"), _numbers(rows, f"prediction_{column}")
        apart, middle = said - truth, (said + truth) / 2
        bias = float(apart.mean())
        axes.axhline(0, color="grey", linewidth=0.8)
        axes.scatter(middle, apart, s=18, color="tab:blue", alpha=0.8)
        _line(axes, bias, f"bias {bias:.3g}", "-")
        if len(apart) > 1:
            reach = LIMIT * float(apart.std(ddof=1))
            for limit in (bias - reach, bias + reach):
                _line(axes, limit, f"{limit:.3g}", "--")
        axes.margins(x=0.12, y=0.15)
        axes.set_xlabel(f"mean of prediction and label{_in(unit)}")
        axes.set_ylabel(f"prediction - label{_in(unit)}")
        axes.set_title(f"{name}: bias and 95 % limits of agreement", fontsize=10)
    return figure


def _panels(count: int) -> tuple[Any, list[Any]]:
    from matplotlib.figure import Figure

    columns = min(count, 3)
    lines = -(-count // columns)
    figure = Figure(figsize=(5.2 * columns, 4.6 * lines), layout="constrained")
    grid = list(figure.subplots(lines, columns, squeeze=False).ravel())
    for axes in grid[count:]:
        axes.set_axis_off()
    return figure, grid[:count]


def _line(axes: Any, height: float, text: str, style: str) -> None:
    axes.axhline(height, color="tab:red", linewidth=1, linestyle=style)
    axes.annotate(
        text, (1, height), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=8, color="tab:red"
    )


def _in(unit: str) -> str:
    return f" ({unit})" if unit else ""


def _numbers(rows: Rows, column: str) -> np.ndarray[Any, Any]:
    return np.asarray([float(row[column]) for row in rows])
