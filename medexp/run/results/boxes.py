"""Objects: a table of boxes, pictures of a few cases with true and found ones, the FROC curve, sensitivity by size."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from nibabel.affines import apply_affine
from torch import Tensor

from medexp.data.boxes import carried
from medexp.data.images import PLACED, suffix
from medexp.data.records import Record
from medexp.data.targets import encode
from medexp.errors import Faults
from medexp.inferers.peaks import components
from medexp.run import folder
from medexp.run.figures import Chosen, save
from medexp.run.inference import Array, Outcome, infer
from medexp.run.results import box_figures
from medexp.run.results.base import Tabular
from medexp.tasks.base import Task

log = logging.getLogger(__name__)
MM = ("x_mm", "y_mm", "z_mm")


class Boxes(Tabular):
    """Objects of an image, from a detector or from the components of masks."""

    kind, first = "detects objects", "case_id,class,score"

    @property
    def names(self) -> list[str]:
        """Of the classes of objects; label maps have a background before them."""
        return list(self.data.classes[1:] if self.data.target == "instances" else self.data.classes)

    def begin(self, records: Sequence[Record], figures: Path) -> int:
        self.chosen = Chosen(self.cfg["figures"], len(records))
        self.drawn: list[box_figures.Picture] = []
        return super().begin(records, figures)

    def row(self, outcome: Outcome, scorer: Any) -> tuple[str, dict[str, Any]]:
        found, true = on_source(outcome), self.true(outcome.record)
        self.shown, self.scorer = (found, true), scorer
        return outcome.record.case_id, scorer.case(found, true, outcome.prepared.source.spacing)

    def true(self, record: Record) -> Array:
        """Objects (M, 2 * axes + 1) of a case on its source grid: its boxes, or the components of its label map."""
        axes = self.data.preparation.spatial_dims
        if record.boxes is not None or self.data.target == "boxes":
            return encode(record, self.names, "boxes").numpy().reshape(-1, 2 * axes + 1)
        label = self.data.preparation.read_label(record).array
        maps = np.stack([label == kind for kind in range(len(self.data.classes))])
        return np.delete(components(torch.from_numpy(maps), 0.5).numpy(), -2, axis=1)

    def draw(self, outcome: Outcome, row: dict[str, Any]) -> None:
        if self.chosen.next():
            found, true = self.shown
            self.drawn.append(box_figures.picture(outcome, found, true))

    def finish(self, rows: list[dict[str, Any]]) -> None:
        if not self.cfg["figures"] or not rows:
            return
        for picture in self.drawn:
            save(box_figures.case(picture, self.names), self.figures / f"{picture.case_id}.png")
        save(box_figures.sheet(self.drawn, self.names), self.figures / "cases.png")
        metrics = self.scorer.summarize(rows)
        save(box_figures.froc(metrics), self.figures / "froc.png")
        save(box_figures.by_size(metrics), self.figures / "sensitivity_by_size.png")

    def predicted(self, outcome: Outcome) -> dict[str, Any]:
        raise NotImplementedError("a case has as many rows as objects: see `lines`")

    def lines(self, outcome: Outcome) -> list[dict[str, Any]]:
        """Rows of a case in predictions.csv: edges in voxels of the image's own grid (voxel i lies between i and i + 1), and
        the centre in mm (RAS) where the file says where it lies in space."""
        found, record = on_source(outcome), outcome.record
        axes, path = found.shape[1] // 2 - 1, record.files[0]
        placed = path.is_dir() or suffix(path) in (*PLACED, ".dcm")
        rows = []
        for one in found.round(4):
            row = {"case_id": record.case_id, "class": self.names[int(one[-1])], "score": round(float(one[-2]), 6)}
            row |= {f"lower_{axis}": float(one[axis]) for axis in range(axes)}
            row |= {f"upper_{axis}": float(one[axes + axis]) for axis in range(axes)}
            middle = np.zeros(3)
            middle[:axes] = (one[:axes] + one[axes : 2 * axes]) / 2 - 0.5  # affines speak of the middles of voxels
            place = apply_affine(outcome.prepared.source.affine, middle)
            row |= dict(zip(MM, place.round(3).tolist() if placed else [None] * 3, strict=True))
            rows.append(row)
        return rows

    def write(self, task: Task, records: Sequence[Record], paths: dict[str, Path]) -> Path:
        path, axes = next(iter(paths.values())), range(self.data.preparation.spatial_dims)
        edges = [f"{side}_{axis}" for side in ("lower", "upper") for axis in axes]
        rows: list[dict[str, Any]] = []
        empty: list[str] = []

        def receive(outcome: Outcome) -> None:
            found = self.lines(outcome)
            rows.extend(found)
            if not found:
                empty.append(outcome.record.case_id)

        faults: Faults | None = None
        try:
            infer(self.cfg, task, self.data, records, receive, labelled=False)
        except Faults as error:  # one unreadable image does not cost the others
            faults = error
        if faults is None or rows:
            table = pd.DataFrame(rows, columns=["case_id", "class", "score", *edges, *MM])
            folder.write(path, table.to_csv(index=False))
            log.info("%s: %d objects of %d cases", path, len(rows), len({row["case_id"] for row in rows}))
        if empty:
            log.info("no object in %d cases (e.g. %s): they have no row", len(empty), empty[0])
        if faults is not None:
            raise faults
        return path


def on_source(outcome: Outcome) -> Array:
    """What was found (N, 2 * axes + 2), with edges in voxels of the source grid, cut at its borders; best first."""
    assert outcome.scores is not None
    found: Tensor = outcome.scores[outcome.scores[:, -2] > 0].float().cpu()
    source = outcome.prepared.source
    values = np.array(found.numpy(), dtype=np.float64)
    if len(values):
        boxes = carried(found[:, :-2], outcome.prepared.affine, source.affine).numpy()
        values[:, :-2] = boxes.clip(0, np.tile(source.shape, 2))
    return values
