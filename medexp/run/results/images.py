"""Images from images: scored beside classical filters on the prepared grid, written in the units of the source."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medexp.data.records import Record
from medexp.metrics.baselines import made
from medexp.run.figures import Chosen, save
from medexp.run.inference import Outcome, infer
from medexp.run.results.files import Array, Files, save_image
from medexp.tasks.base import Task

log = logging.getLogger(__name__)


class Images(Files):
    """Restored or translated images."""

    said = False

    def begin(self, records: Sequence[Record], figures: Path) -> int:
        self.chosen = Chosen(self.cfg["figures"], len(records))
        return super().begin(records, figures)

    def row(self, outcome: Outcome, scorer: Any) -> tuple[str, dict[str, Any]]:
        assert outcome.scores is not None
        assert outcome.target is not None
        assert outcome.given is not None
        given, reference = outcome.given.cpu().numpy(), outcome.target.numpy()
        others = {name: made(name, given, reference) for name in scorer.baselines}
        known = {name: image for name, image in others.items() if image is not None}
        return outcome.record.case_id, scorer.case(outcome.scores.numpy(), reference, known)

    def draw(self, outcome: Outcome, row: dict[str, Any]) -> None:
        if not self.chosen.next():
            return
        assert outcome.scores is not None
        assert outcome.target is not None
        assert outcome.given is not None
        panels = {
            "input": outcome.given.cpu().numpy(),
            "network": outcome.scores.numpy(),
            "reference": outcome.target.numpy(),
        }
        title = f"{outcome.record.case_id}   PSNR {row['psnr']:.1f} dB"
        if row.get("psnr_input") is not None:
            title += f" (input {row['psnr_input']:.1f})"
        save(side_by_side(panels, title), self.figures / f"{outcome.record.case_id}.png")

    def finish(self, rows: list[dict[str, Any]]) -> None:
        """Every case is drawn by itself."""

    def write(self, task: Task, records: Sequence[Record], paths: dict[str, Path]) -> None:
        other = (self.cfg.get("degradation") or {}).get("outputs") is not None
        if other:
            log.info("images of a modality that was not given: in standard deviations, as the network was trained")

        def receive(outcome: Outcome) -> None:
            record = outcome.record
            path = paths[record.case_id]
            values, affine = self._placed(outcome, other)
            save_image(as_file(values, path, stretched=other), record.files[0], path, affine)
            log.info("%s", path)

        infer(self.cfg, task, self.data, records, receive, labelled=False)

    def _placed(self, outcome: Outcome, other: bool) -> tuple[Array, Array]:
        """What the network made, and its affine: on the source's grid, or, where that would throw away what is restored, on
        the finer one that the network works on. In the units of the source, but for another modality."""
        assert outcome.scores is not None
        preparation, prepared = self.data.preparation, outcome.prepared
        factors = self._factors(outcome)
        if preparation.as_scanned and max(factors, default=1) == 1:
            if other:
                return preparation.values_on_source(outcome.scores.numpy(), prepared), prepared.source.affine
            return preparation.image_on_source(outcome.scores, prepared, outcome.record), prepared.source.affine
        values = outcome.scores.numpy()
        if not other:
            values = preparation.image_in_units(outcome.scores, prepared, outcome.record)
        return values, refined(prepared.affine, factors)

    def _factors(self, outcome: Outcome) -> list[int]:
        """How many voxels along each axis one of the case has become; said of the first that becomes several."""
        assert outcome.scores is not None
        sizes = zip(outcome.scores.shape[1:], outcome.prepared.image.shape[1:], strict=True)
        factors = [fine // coarse for fine, coarse in sizes]
        if max(factors) > 1 and not self.said:
            self.said = True
            words = "x".join(map(str, factors))
            log.info(
                "each voxel becomes %s (degradation.factor): scans are taken to be as coarse as they were learnt from",
                words,
            )
        return factors


def refined(affine: Array, factors: Sequence[int]) -> Array:
    """The affine of a grid whose voxels are parts of others over the same extent: `factors` along each axis."""
    scale = np.ones(4)
    scale[: len(factors)] = factors
    made = np.asarray(affine, np.float64) @ np.diag(1 / scale)
    made[:3, 3] = (affine @ np.append(0.5 / scale[:3] - 0.5, 1.0))[:3]  # the middle of the first voxel
    return made


def as_file(values: Array, path: Path, stretched: bool = False) -> Array:
    """(C, *spatial) as a file holds it: float32 with channels last for volumes, rounded to a byte for pictures. stretched: of
    pictures in other units, the darkest 0.5 % become 0 and the brightest 255."""
    image = values[0] if len(values) == 1 else np.moveaxis(values, 0, -1)
    if path.suffix != ".png":
        return image
    if stretched:
        low, high = np.percentile(image, (0.5, 99.5))
        image = (image - low) * (255 / ((high - low) or 1))
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def side_by_side(panels: dict[str, Array], title: str) -> Any:
    """Middle slices of images (C, *spatial) in one row, at the reference's window, and where the network errs."""
    from matplotlib.figure import Figure

    planes = {name: _plane(image) for name, image in panels.items()}
    low, high = np.percentile(planes["reference"], (0.5, 99.5))
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots(1, len(planes) + 1)
    for place, (name, plane) in zip(axes[:-1], planes.items(), strict=True):
        place.imshow(plane, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
        place.set_title(name, fontsize=10)
    error = np.abs(planes["network"] - planes["reference"])
    drawn = axes[-1].imshow(error, cmap="magma", vmin=0, vmax=(high - low) / 4 or 1, interpolation="nearest")
    axes[-1].set_title("absolute error", fontsize=10)
    figure.colorbar(drawn, ax=axes[-1], shrink=0.8)
    for place in axes:
        place.set_axis_off()
    return figure


def _plane(image: Array) -> Array:
    """(C, *spatial) to (rows, columns) of the first channel: the middle slice of a volume, its second axis up."""
    plane = image[0]
    return np.rot90(plane[..., plane.shape[-1] // 2]) if plane.ndim == 3 else plane
