"""Figures of found objects: pictures with boxes, FROC curves, sensitivity by size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from medexp.data.boxes import carried
from medexp.metrics.boxes import RATES
from medexp.run.figures import picture as grey
from medexp.run.inference import Array, Outcome

SHOWN = 0.3  # score from which on a found box is drawn; the best of a case is drawn always
TRUE = "#39ff14"
DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.5)), (0, (5, 1.5, 1.5, 1.5)))  # of classes of found boxes


@dataclass(frozen=True)
class Picture:
    """One plane of a prepared case, and the boxes that it cuts. true: (M, 5), found: (N, 6), rows and columns of the picture
    as they are drawn, [score,] class."""

    case_id: str
    plane: Array
    true: Array
    found: Array
    hidden: int  # true objects that lie in other planes


def picture(outcome: Outcome, found: Array, true: Array) -> Picture:
    """Of boxes on the source grid; of a volume, the slice that cuts most true objects (without any: the best found one)."""
    import torch

    image = outcome.prepared.image.numpy()
    axes, start, end = image.ndim - 1, outcome.prepared.source.affine, outcome.prepared.affine

    def here(rows: Array) -> Array:
        rows = rows.astype(float)
        if len(rows):
            rows[:, : 2 * axes] = carried(torch.from_numpy(rows[:, : 2 * axes]), start, end).numpy()
        return rows

    true, found = here(true), here(found)
    found = found[[index for index, score in enumerate(found[:, -2]) if score >= SHOWN or index == 0]]
    if axes == 2:
        return Picture(outcome.record.case_id, grey(image, turned=False), true, found, 0)
    index = _slice(true if len(true) else found, image.shape[-1])
    cut = [rows[(rows[:, 2] <= index + 0.5) & (rows[:, 5] >= index + 0.5)] for rows in (true, found)]
    plane = grey(image[..., index], turned=True)
    turned = [_turned(np.delete(rows, (2, 5), axis=1), image.shape[2]) for rows in cut]
    return Picture(outcome.record.case_id, plane, turned[0], turned[1], len(true) - len(cut[0]))


def _slice(rows: Array, count: int) -> int:
    middles = np.arange(count) + 0.5
    if not len(rows):
        return count // 2
    depth = [np.minimum(middles - low, high - middles).clip(-1, 3) for low, high in rows[:, (2, 5)]]
    return int(np.argmax(np.sum([(each > 0) + 0.1 * each for each in depth], axis=0)))


def _turned(rows: Array, columns: int) -> Array:
    """Boxes of a plane that numpy.rot90 turned: rows (lower, upper) are now the second axis, backwards."""
    low, high = columns - rows[:, 3], columns - rows[:, 1]
    return np.column_stack([low, rows[:, 0], high, rows[:, 2], rows[:, 4:]])


def _draw(axes: Any, shown: Picture, names: list[str], size: float) -> None:
    from matplotlib.patches import Rectangle

    axes.imshow(shown.plane, cmap="gray", extent=(0, shown.plane.shape[1], shown.plane.shape[0], 0))
    for rows, colour, true in ((shown.true, TRUE, True), (shown.found, "#ff8c1a", False)):
        for row in rows:
            box = (row[1], row[0]), row[3] - row[1], row[2] - row[0]
            dash: Any = "-" if true else DASHES[int(row[-1]) % len(DASHES)]
            axes.add_patch(Rectangle(*box, fill=False, edgecolor=colour, linewidth=1.2, linestyle=dash))
            if not true and len(rows) <= 40:
                text = f"{row[-2]:.2f}" + (f" {names[int(row[-1])]}" if len(names) > 1 else "")
                axes.text(row[1], row[0] - 0.5, text, color=colour, fontsize=size, va="bottom", clip_on=True)
    elsewhere = f"   ({shown.hidden} more in other slices)" if shown.hidden else ""
    axes.set_title(f"{shown.case_id[:24]}{elsewhere}", fontsize=9)
    axes.set_axis_off()


def _legend(figure: Any) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(color=TRUE, label="true"), Patch(color="#ff8c1a", label=f"found, with score (from {SHOWN:g})")]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False, fontsize=9)


def case(shown: Picture, names: list[str]) -> Any:
    """One picture with its boxes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 6), layout="constrained")
    _draw(figure.subplots(), shown, names, 8)
    _legend(figure)
    return figure


def sheet(drawn: list[Picture], names: list[str]) -> Any:
    """All pictures on one sheet."""
    from matplotlib.figure import Figure

    columns = min(len(drawn), 4)
    lines = -(-len(drawn) // columns)
    figure = Figure(figsize=(3.4 * columns, 3.6 * lines + 0.4), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False).ravel()
    for axes in grid:
        axes.set_axis_off()
    for axes, shown in zip(grid, drawn, strict=False):
        _draw(axes, shown, names, 6)
    _legend(figure)
    return figure


def froc(metrics: dict[str, Any]) -> Any:
    """Sensitivity over false positives a scan, a curve a class; the seven points of LUNA16's score are marked."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6, 4.4), layout="constrained")
    axes = figure.subplots()
    for name, curve in metrics["froc"].items():
        rates, sensitivity = np.asarray(curve["false_positives_a_scan"]), np.asarray(curve["sensitivity"])
        smooth = np.geomspace(RATES[0] / 2, RATES[-1] * 2, 400)
        score = metrics["cpm"]["per_class"][name]["mean"]
        (line,) = axes.plot(smooth, np.interp(smooth, rates, sensitivity), label=f"{name} (CPM {score:.2f})")
        axes.plot(RATES, np.interp(RATES, rates, sensitivity), "o", color=line.get_color(), markersize=4)
    axes.set_xscale("log", base=2)
    axes.set_xticks(RATES, ["1/8", "1/4", "1/2", "1", "2", "4", "8"])
    axes.set_xlim(RATES[0] / 2, RATES[-1] * 2)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("false positives a scan")
    axes.set_ylabel("sensitivity")
    axes.grid(alpha=0.3)
    if metrics["froc"]:
        axes.legend(loc="lower right", fontsize=9)
    return figure


def by_size(metrics: dict[str, Any]) -> Any:
    """Sensitivity of small, middling and large objects, a group of bars a class."""
    from matplotlib.figure import Figure

    bars = sum(map(len, metrics["by_size"]["per_class"].values()))
    figure = Figure(figsize=(max(6.4, 0.9 * bars), 3.8), layout="constrained")
    axes = figure.subplots()
    labels, place = [], 0.0
    for number, (name, groups) in enumerate(metrics["by_size"]["per_class"].items()):
        for group in groups:
            low, high = group["from_mm"], group["to_mm"]
            words = f"≥ {low:.3g}" if high is None else f"{low:.3g} to {high:.3g}" if low else f"< {high:.3g}"
            labels.append((place, f"{words}\n(n = {group['n']})"))
            height = group["sensitivity"] or 0.0
            axes.bar(place, height, width=0.8, color=f"C{number}", label=name if group is groups[0] else None)
            place += 1
        place += 0.6
    axes.set_xticks([at for at, _ in labels], [text for _, text in labels], fontsize=8)
    axes.set_ylim(0, 1.15)
    axes.set_xlabel("size: geometric mean of the sides in mm (pixels where the file has no spacing)")
    axes.set_ylabel(f"sensitivity at {metrics['by_size']['false_positives_a_scan']:g} false positives a scan")
    if labels:
        axes.legend(fontsize=9)
    return figure
