"""Label maps: scored and written on the source grid; slices are put together to their volumes first."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from medexp.data import annotated, expand
from medexp.data.images import header
from medexp.data.records import Record
from medexp.run.figures import Panels
from medexp.run.inference import Outcome, infer
from medexp.run.results.files import Files, save_image
from medexp.run.volumes import Array, Volumes, volume_id, volume_spacing
from medexp.tasks.base import Task

log = logging.getLogger(__name__)


class Maps(Files):
    """One class a voxel."""

    def begin(self, records: Sequence[Record], figures: Path) -> int:
        super().begin(records, figures)
        self.volumes = Volumes(records) if self.data.plane is not None else None
        self.count = len(records if self.volumes is None else self.volumes)
        self.panels = Panels(figures, self.data.classes, self.cfg["figures"], self.count)
        self.shown: tuple[int, Outcome] | None = None  # of the slices of a volume so far: the one with most to see
        return self.count

    def row(self, outcome: Outcome, scorer: Any) -> tuple[str, dict[str, Any]] | None:
        case_id, spacing = outcome.record.case_id, outcome.prepared.source.spacing
        labels, truth = self._maps(outcome)
        if self.volumes is not None:
            whole = self.volumes.add(outcome.record, labels, truth)
            seen = int(np.count_nonzero(labels) + np.count_nonzero(truth))
            if self.shown is None or seen > self.shown[0]:
                self.shown = (seen, outcome)
            if whole is None:
                return None
            (labels, truth), spacing = whole, volume_spacing(outcome.record)
            case_id = volume_id(outcome.record)
        return case_id, scorer.case(labels, truth, spacing)

    def _maps(self, outcome: Outcome) -> tuple[Array, Array]:
        """Prediction and truth on the source grid; outside of the field of view both are background."""
        assert outcome.labels is not None
        told = self.data.annotation, len(self.data.classes), self.data.seed
        truth = annotated.truth(outcome.record, self.data.preparation, *told)
        region = self.data.preparation.region(outcome.record)
        return (outcome.labels if region is None else np.where(region, outcome.labels, 0)), truth

    def draw(self, outcome: Outcome, row: dict[str, Any]) -> None:
        outcome = outcome if self.shown is None else self.shown[1]
        beside, self.shown = self.data.neighbours, None
        middle = outcome.prepared.image[beside :: 2 * beside + 1]  # without the neighbours of a slice
        self.panels.add(replace(outcome, prepared=replace(outcome.prepared, image=middle)), row)

    def finish(self, rows: list[dict[str, Any]]) -> None:
        self.panels.finish()

    def write(self, task: Task, records: Sequence[Record], paths: dict[str, Path]) -> None:
        if self.data.plane is not None:
            return self._stacks(task, records, paths)

        def receive(outcome: Outcome) -> None:
            assert outcome.labels is not None
            path = paths[outcome.record.case_id]
            save_image(outcome.labels, outcome.record.files[0], path, outcome.prepared.source.affine)
            log.info("%s", path)

        infer(self.cfg, task, self.data, records, receive, labelled=False)

    def _stacks(self, task: Task, records: Sequence[Record], paths: dict[str, Path]) -> None:
        """Volumes, slice by slice: a map is written once its last slice is there."""
        assert self.data.plane is not None
        for record in records:
            slices = expand.slices([record], self.data.plane)
            volumes = Volumes(slices)

            def receive(outcome: Outcome, volumes: Volumes = volumes, record: Record = record) -> None:
                assert outcome.labels is not None
                whole = volumes.add(outcome.record, outcome.labels)
                if whole is not None:
                    path = paths[record.case_id]
                    save_image(whole[0], record.files[0], path, header(record).affine)
                    log.info("%s", path)

            infer(self.cfg, task, self.data, slices, receive, labelled=False)
