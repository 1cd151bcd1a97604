"""Figures of a few cases: image, label and prediction side by side; a confusion matrix for classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from medexp.errors import UserError
from medexp.run.inference import Outcome
from medexp.targets import IGNORED

Array = np.ndarray[Any, Any]
SLICES = "slices.npz"  # the planes drawn, as arrays: image_1, label_1, prediction_1, ... (dashboards overlay them)
WIDEST = 32  # characters of a case id over a tile


class Chosen:
    """`count` of `total` cases, evenly spread over their order."""

    def __init__(self, count: int, total: int) -> None:
        self.places = {int(place) for place in np.linspace(0, max(total - 1, 0), max(count, 0))}
        self.seen = 0

    def next(self) -> bool:
        """Whether the next case is one of them."""
        self.seen += 1
        return self.seen - 1 in self.places


class Tiles:
    """A few images with their case id and a line or more each, on one sheet."""

    def __init__(self, count: int, total: int) -> None:
        self.chosen = Chosen(count, total)
        self.tiles: list[tuple[str, Array, str]] = []

    def add(self, outcome: Outcome, title: str, colour: str) -> None:
        if self.chosen.next():
            name = short(outcome.record.case_id)
            self.tiles.append((f"{name}\n{title}", middle(newest(outcome)), colour))

    def save(self, path: Path, heading: str = "") -> None:
        """heading: what the lines over the images say."""
        if self.tiles:
            save(sheet(self.tiles, heading), path)


class Panels:
    """Image, label map and predicted map of a few cases, as PNG files in `folder`."""

    def __init__(self, folder: Path, classes: list[str], count: int, total: int) -> None:
        self.folder, self.classes = folder, classes
        self.chosen = Chosen(count, total)
        self.slices: dict[str, Array] = {}
        self.done = 0

    def add(self, outcome: Outcome, row: dict[str, Any]) -> None:
        if not self.chosen.next():
            return
        self.done += 1
        shown, truth, predicted = drawn_slice(outcome.prepared.image.numpy(), *on_prepared(outcome))
        self.slices |= {f"image_{self.done}": shown, f"label_{self.done}": truth, f"prediction_{self.done}": predicted}
        figure = segmentation(shown, truth, predicted, self.classes, _title(outcome, row))
        save(figure, self.folder / f"{outcome.record.case_id}.png")

    def finish(self) -> None:
        if self.slices:
            np.savez_compressed(self.folder / SLICES, **self.slices)  # type: ignore[arg-type]


def short(name: str) -> str:
    """Of a long name both ends, as wide as a tile."""
    return name if len(name) <= WIDEST else f"{name[: WIDEST // 2 - 1]}…{name[-(WIDEST // 2) :]}"


def save(figure: Any, path: Path) -> None:
    """As PNG. Raises UserError where the folder cannot be written."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        FigureCanvasAgg(figure).print_png(str(path))
    except OSError as error:
        raise UserError(f"{path.parent}: cannot write figures ({error.strerror})") from None


def on_prepared(outcome: Outcome) -> tuple[Array, Array]:
    """Label and prediction as class maps on the prepared grid, where the image to draw is."""
    assert outcome.predicted is not None  # of labelled cases
    predicted = outcome.predicted
    if outcome.prepared.label is None:
        return np.zeros_like(predicted), predicted
    truth = outcome.prepared.label[0].numpy()
    ignored = outcome.prepared.ignored
    return (np.where(truth == IGNORED, 0, truth) if ignored else truth), predicted


def best_slice(truth: Array, predicted: Array) -> int:
    """Index on the last axis of the slice with most foreground in label and prediction together."""
    axes = tuple(range(truth.ndim - 1))
    return int(np.argmax((truth > 0).sum(axes) + (predicted > 0).sum(axes)))


def newest(outcome: Outcome) -> Array:
    """The prepared image (C, *spatial); of a study of frames, which it holds folded, the last."""
    image, given = outcome.prepared.image, outcome.given
    return (image if given is None or given.ndim == image.ndim else image[-given.shape[1] :]).numpy()


def middle(image: Array) -> Array:
    """(C, *spatial) to one picture (rows, columns[, 3]): the middle slice of a volume."""
    plane = image[..., image.shape[-1] // 2] if image.ndim == 4 else image
    return picture(plane, turned=image.ndim == 4)


def picture(plane: Array, turned: bool) -> Array:
    """(C, a, b) to grey (or RGB) in 0..1; slices of volumes are turned so that the second axis points up."""
    shown = np.moveaxis(plane[:3], 0, -1) if len(plane) >= 3 else plane[0]
    low, high = np.percentile(shown, (0.5, 99.5))
    shown = np.clip((shown - low) / max(float(high - low), 1e-6), 0, 1)
    return np.rot90(shown) if turned else shown


def _title(outcome: Outcome, row: dict[str, Any]) -> str:
    dice = row.get("dice")
    return outcome.record.case_id + (f"   Dice {dice:.3f}" if isinstance(dice, float) else "")


def drawn_slice(image: Array, truth: Array, predicted: Array) -> tuple[Array, Array, Array]:
    """Picture (0..1), label and prediction of the plane to draw: of a volume, the slice with most foreground."""
    if truth.ndim == 2:
        return picture(image, turned=False), truth.astype(np.uint8), predicted.astype(np.uint8)
    index = best_slice(truth, predicted)
    turned = [np.ascontiguousarray(np.rot90(mask[..., index])).astype(np.uint8) for mask in (truth, predicted)]
    return picture(image[..., index], turned=True), turned[0], turned[1]


def segmentation(shown: Array, truth: Array, predicted: Array, classes: list[str], title: str) -> Any:
    """One picture (rows, columns) beside itself with its label and with its prediction."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    colours = [colormaps["tab10"](index % 10) for index in range(len(classes))]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    figure.suptitle(title)
    panels = (("image", None), ("label", truth), ("prediction", predicted))
    for axes, (name, mask) in zip(figure.subplots(1, 3), panels, strict=True):
        axes.imshow(shown, cmap="gray", interpolation="nearest")
        if mask is not None:
            overlay = np.zeros((*mask.shape, 4))
            for value in range(1, len(classes)):
                overlay[mask == value] = (*colours[value - 1][:3], 0.55)
            axes.imshow(overlay, interpolation="nearest")
        axes.set_title(name, fontsize=10)
        axes.set_axis_off()
    handles = [Patch(color=colours[value - 1], label=classes[value]) for value in range(1, len(classes))]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 6), frameon=False, fontsize=9)
    return figure


def sheet(tiles: list[tuple[str, Array, str]], heading: str = "") -> Any:
    """A few images, each with its lines in a colour."""
    from matplotlib.figure import Figure

    columns = min(len(tiles), 4)
    lines = -(-len(tiles) // columns)
    figure = Figure(figsize=(2.4 * columns, 2.75 * lines + 0.25), layout="constrained")
    if heading:
        figure.suptitle(heading, fontsize=10)
    grid = figure.subplots(lines, columns, squeeze=False).ravel()
    for axes in grid:
        axes.set_axis_off()
    for axes, (title, image, colour) in zip(grid, tiles, strict=False):
        axes.imshow(image, cmap="gray")
        axes.set_title(title, fontsize=9, color=colour)
    return figure


def confusion(rows: list[dict[str, Any]], classes: list[str]) -> Any:
    """Counts of label (rows) against prediction (columns)."""
    from matplotlib.figure import Figure

    counts = np.zeros((len(classes), len(classes)), dtype=int)
    for row in rows:
        counts[classes.index(str(row["label"])), classes.index(str(row["prediction"]))] += 1
    size = 2.2 + 0.55 * len(classes)
    figure = Figure(figsize=(size + 1, size), layout="constrained")
    axes = figure.subplots()
    axes.imshow(counts, cmap="Blues")
    for (i, j), count in np.ndenumerate(counts):
        axes.text(
            j,
            i,
            str(count),
            ha="center",
            va="center",
            fontsize=9,
            color="white" if count > counts.max() / 2 else "black",
        )
    axes.set_xticks(range(len(classes)), classes, rotation=45, ha="right")
    axes.set_yticks(range(len(classes)), classes)
    axes.set_xlabel("predicted")
    axes.set_ylabel("label")
    return figure
