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
from medexp.run.planes import error_end, unit
from medexp.run.results.files import Array, Files, save_image
from medexp.run.results.reconstruction_figures import Reconstruction, cut, panels
from medexp.tasks.base import Task

log = logging.getLogger(__name__)
WHITE = 4.0  # error, in units of the prepared image, that is 255 in a picture


class Reconstructions(Files):
    """A row an image; predictions are maps of the error, on the grid of the source."""

    def begin(self, records: Sequence[Record], figures: Path) -> int:
        self.chosen = Chosen(self.cfg["figures"], len(records))
        self.drawn: dict[str, Reconstruction] = {}
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
        finding = None if label is None else label[0].numpy() > 0
        kind = "" if outcome.target is None else str(self.data.classes[int(outcome.target.item())])
        words = [outcome.record.case_id, kind, f"PSNR {row['psnr']:.1f} dB"]
        self.drawn[outcome.record.case_id] = cut(image, made, finding, outcome.prepared.affine, words)

    def finish(self, rows: Sequence[dict[str, Any]]) -> None:
        """Once all are there, as the figures share a scale."""
        if not self.drawn:
            return
        end = error_end([case.error for case in self.drawn.values()])
        for case_id, case in self.drawn.items():
            save(panels(case, end, unit(self.data.preparation)), self.figures / f"{case_id}.png")

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
