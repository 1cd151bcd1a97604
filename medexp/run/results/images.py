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
from medexp.run.planes import error_end, slice_name, unit
from medexp.run.results.files import Array, Files, save_image
from medexp.run.results.image_figures import Case, best_baseline, middle_plane, side_by_side
from medexp.tasks.base import Task

log = logging.getLogger(__name__)


class Images(Files):
    """Restored or translated images."""

    said = False

    def begin(self, records: Sequence[Record], figures: Path) -> int:
        self.chosen = Chosen(self.cfg["figures"], len(records))
        self.drawn: dict[str, Case] = {}
        self.beside: dict[str, Array] = {}
        self.channels = 1
        return super().begin(records, figures)

    def row(self, outcome: Outcome, scorer: Any) -> tuple[str, dict[str, Any]]:
        assert outcome.scores is not None
        assert outcome.target is not None
        assert outcome.given is not None
        given, reference = outcome.given.cpu().numpy(), outcome.target.numpy()
        others = {name: made(name, given, reference) for name in scorer.baselines}
        known = {name: image for name, image in others.items() if image is not None}
        self.beside = {**known, "input": given, "reference": reference}  # of the case that may be drawn next
        return outcome.record.case_id, scorer.case(outcome.scores.numpy(), reference, known)

    def draw(self, outcome: Outcome, row: dict[str, Any]) -> None:
        """Keeps the planes of a case until all are there: the figures share a scale."""
        if not self.chosen.next():
            return
        assert outcome.scores is not None
        images, prepared = {**self.beside, "network": outcome.scores.numpy()}, outcome.prepared
        self.channels, case_id = len(self.beside["input"]), outcome.record.case_id
        shape = images["reference"].shape[1:]
        where = slice_name(shape, prepared.affine, shape[-1] // 2)
        scores = {name: row.get("psnr" if name == "network" else f"psnr_{name}") for name in images}
        planes = {name: middle_plane(image) for name, image in images.items()}
        self.drawn[case_id] = Case(", ".join(filter(None, (case_id, where))), planes, scores)

    def finish(self, rows: list[dict[str, Any]]) -> None:
        if not self.drawn:
            return
        end = error_end([case.error for case in self.drawn.values()])
        names = [key.removeprefix("psnr_") for key in rows[0] if key.startswith("psnr_")]
        shown = best_baseline(rows, names), end, unit(self.data.preparation), self.channels
        for case_id, case in self.drawn.items():
            save(side_by_side(case, *shown), self.figures / f"{case_id}.png")

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
