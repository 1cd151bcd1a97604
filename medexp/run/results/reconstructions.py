"""Reconstructions of images: how near they come, and where they do not."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medexp.data.records import Record
from medexp.metrics.anomaly import error
from medexp.run.figures import Chosen, save
from medexp.run.inference import Outcome, infer
from medexp.run.results.files import Array, Files, save_image
from medexp.tasks.base import Task

log = logging.getLogger(__name__)
WHITE = 4.0  # error, in units of the prepared image, that is 255 in a picture


class Reconstructions(Files):
    """A row an image; predictions are maps of the error, on the grid of the source."""

    def begin(self, records: Sequence[Record], figures: Path) -> int:
        self.chosen = Chosen(self.cfg["figures"], len(records))
        return super().begin(records, figures)

    def row(self, outcome: Outcome, scorer: Any) -> tuple[str, dict[str, Any]]:
        image, made = self._pair(outcome)
        if outcome.target is not None:
            return outcome.record.case_id, scorer.case(image, made, anomalous=int(outcome.target.item()) > 0)
        if outcome.prepared.label is not None:
            return outcome.record.case_id, scorer.case(image, made, outcome.prepared.label[0].numpy())
        return outcome.record.case_id, scorer.case(made, image, {})

    def _pair(self, outcome: Outcome) -> tuple[Array, Array]:
        assert outcome.scores is not None
        return outcome.prepared.image.numpy(), outcome.scores.numpy()

    def draw(self, outcome: Outcome, row: dict[str, Any]) -> None:
        if not self.chosen.next():
            return
        image, made = self._pair(outcome)
        label = outcome.prepared.label
        kind = "" if outcome.target is None else f"   {self.data.classes[int(outcome.target.item())]}"
        title = f"{outcome.record.case_id}{kind}   PSNR {row['psnr']:.1f} dB"
        figure = panels(image, made, None if label is None else label[0].numpy() > 0, title)
        save(figure, self.figures / f"{outcome.record.case_id}.png")

    def finish(self, rows: Sequence[dict[str, Any]]) -> None:
        """Every case is drawn by itself."""

    def write(self, task: Task, records: Sequence[Record], paths: dict[str, Path]) -> None:
        if any(path.suffix == ".png" for path in paths.values()):
            log.info("pictures of errors: 255 is %g or more, in units of the prepared image", WHITE)

        def receive(outcome: Outcome) -> None:
            path = paths[outcome.record.case_id]
            values = self.data.preparation.values_on_source(error(*self._pair(outcome))[None], outcome.prepared)[0]
            if path.suffix == ".png":
                values = np.clip(np.rint(values * (255 / WHITE)), 0, 255).astype(np.uint8)
            source = outcome.record.files[0]
            save_image(values, source, path, outcome.prepared.source.affine)
            log.info("%s", path)

        infer(self.cfg, task, self.data, records, receive, labelled=False)


def panels(image: Array, made: Array, finding: Array | None, title: str) -> Any:
    """(C, *spatial) and what came back of it, of the slice with most of the finding (bool, *spatial), outlined, or the
    middle one; and where the error is."""
    from matplotlib.figure import Figure

    index = image.shape[-1] // 2
    if image.ndim == 4 and finding is not None and finding.any():
        index = int(finding.sum(axis=(0, 1)).argmax())
    planes = [image[0], made[0], error(image, made)]
    if image.ndim == 4:
        planes = [np.rot90(plane[..., index]) for plane in planes]
        finding = None if finding is None else np.rot90(finding[..., index])
    low, high = np.percentile(planes[0], (0.5, 99.5))
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots(1, 3)
    for place, plane, name in zip(axes, planes, ("image", "reconstruction", "error"), strict=True):
        drawn = (
            {"cmap": "magma", "vmin": 0, "vmax": 2} if name == "error" else {"cmap": "gray", "vmin": low, "vmax": high}
        )
        place.imshow(plane, interpolation="nearest", **drawn)
        place.set_title(name, fontsize=10)
        place.set_axis_off()
        if finding is not None and finding.any():
            place.contour(finding, levels=[0.5], colors="cyan", linewidths=0.8)
    return figure
