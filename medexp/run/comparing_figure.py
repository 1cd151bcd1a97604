"""The figure of runs side by side: a score along a key, a line for each set of other choices."""

from __future__ import annotations

from typing import Any

from medexp.metrics.intervals import mean_interval
from medexp.run.comparing import Comparison, Point

STYLES = (
    ("tab:blue", "o"),
    ("tab:orange", "s"),
    ("tab:green", "^"),
    ("tab:red", "D"),
    ("tab:purple", "v"),
    ("tab:brown", "P"),
)
WIDE = 60  # letters of a line's name in the legend


def curve(comparison: Comparison, metric: str) -> Any:
    """Means over seeds with a dot for each run; the values of the key stand side by side, numbers in their order."""
    from matplotlib.figure import Figure

    along = comparison.by is not None
    figure = Figure(figsize=(6.4, 4.2) if along else (6.4, 1.2 + 0.45 * len(comparison.lines)), layout="constrained")
    axes = figure.subplots()
    (_curves if along else _rows)(axes, comparison, metric)
    seeds = {len(point.runs) for point in comparison.points}
    count = f"{min(seeds)} to {max(seeds)}" if len(seeds) > 1 else f"{min(seeds)}"
    axes.set_title(f"mean of {count} seed{'s' if max(seeds) > 1 else ''} a point; dots: each run", fontsize=9)
    axes.grid(alpha=0.25)
    return figure


def _curves(axes: Any, comparison: Comparison, metric: str) -> None:
    lines, places = list(comparison.lines), list(comparison.places)
    for number, line in enumerate(lines):
        colour, marker = STYLES[number % len(STYLES)]
        shift = 0.1 * (number - (len(lines) - 1) / 2) / max(len(lines) - 1, 1)  # so that no dots hide others
        mine = [
            (places.index(point.at) + shift, list(point.values(metric).values())) for point in _of(comparison, line)
        ]
        means = [mean_interval(values)[0] for _, values in mine]
        axes.plot([at for at, _ in mine], means, color=colour, marker=marker, label=_short(line))
        dots = [(at, value) for at, values in mine for value in values]
        axes.scatter(*zip(*dots, strict=True), color=colour, s=14, alpha=0.45, linewidths=0)
    axes.set_xticks(range(len(places)), places)
    axes.set_xlabel(str(comparison.by))
    axes.set_ylabel(f"{metric} (test split)")
    if lines != ["all"]:
        axes.legend(fontsize=8, frameon=False)


def _rows(axes: Any, comparison: Comparison, metric: str) -> None:
    lines = list(comparison.lines)
    for number, line in enumerate(lines):
        colour, marker = STYLES[number % len(STYLES)]
        values = [value for point in _of(comparison, line) for value in point.values(metric).values()]
        axes.scatter([mean_interval(values)[0]], [number], color=colour, marker=marker, s=48)
        axes.scatter(values, [number] * len(values), color=colour, s=14, alpha=0.45, linewidths=0)
    axes.set_yticks(range(len(lines)), [_short(line) for line in lines], fontsize=8)
    axes.set_ylim(len(lines) - 0.5, -0.5)
    axes.set_xlabel(f"{metric} (test split)")


def _of(comparison: Comparison, line: str) -> list[Point]:
    return [point for point in comparison.points if point.line == line]


def _short(line: str) -> str:
    return line if len(line) <= WIDE else f"{line[: WIDE - 3]}..."
