"""Label maps: scored and written on the source grid; slices are put together to their volumes first."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from PIL import Image

from medexp.data import expand
from medexp.data.images import NIFTI, PLACED, header, suffix
from medexp.data.records import Record
from medexp.errors import UserError
from medexp.run.figures import Panels
from medexp.run.inference import Outcome, infer
from medexp.run.results.base import Results
from medexp.run.volumes import Array, Volumes, volume_id, volume_spacing
from medexp.tasks.base import Task

log = logging.getLogger(__name__)


class Maps(Results):
    """One class a voxel."""

    def begin(self, records: Sequence[Record], figures: Path) -> int:
        super().begin(records, figures)
        self.volumes = Volumes(records) if self.data.plane is not None else None
        self.count = len(records if self.volumes is None else self.volumes)
        self.panels = Panels(figures, self.data.classes, self.cfg["figures"], self.count)
        return self.count

    def row(self, outcome: Outcome, scorer: Any) -> tuple[str, dict[str, Any]] | None:
        case_id, spacing = outcome.record.case_id, outcome.prepared.source.spacing
        labels, truth = self._maps(outcome)
        if self.volumes is not None:
            whole = self.volumes.add(outcome.record, labels, truth)
            if whole is None:
                return None
            (labels, truth), spacing = whole, volume_spacing(outcome.record)
            case_id = volume_id(outcome.record)
        return case_id, scorer.case(labels, truth, spacing)

    def _maps(self, outcome: Outcome) -> tuple[Array, Array]:
        """Prediction and truth on the source grid; outside of the field of view both are background."""
        assert outcome.labels is not None
        truth = self.data.preparation.read_label(outcome.record).array
        region = self.data.preparation.region(outcome.record)
        return (outcome.labels if region is None else np.where(region, outcome.labels, 0)), truth

    def draw(self, outcome: Outcome, row: dict[str, Any]) -> None:
        self.panels.add(outcome, row)

    def finish(self, rows: list[dict[str, Any]]) -> None:
        self.panels.finish()

    def outputs(self, records: Sequence[Record], output: Path) -> dict[str, Path]:
        single = bool(suffix(output)) or output.suffix == ".csv"
        if single and len(records) > 1:
            raise UserError(f"--output: {output} is one file for {len(records)} cases; give a folder")
        paths = {}
        for record in records:
            end = _end(record)
            ends = NIFTI if end in NIFTI else (end,)
            if single and not output.name.lower().endswith(ends):
                what = f"{record.files[0].name} gives a {' or '.join(ends)}"
                raise UserError(f"--output: {output.name}, but {what}; give that or a folder")
            path = output if single else output / f"{record.case_id}{end}"
            if any(path.exists() and path.samefile(image) for image in record.files):
                raise UserError(f"--output: {path} is the image itself; give another folder or file")
            paths[record.case_id] = path
        return paths

    def write(self, task: Task, records: Sequence[Record], paths: dict[str, Path]) -> None:
        if self.data.plane is not None:
            return self._stacks(task, records, paths)

        def receive(outcome: Outcome) -> None:
            assert outcome.labels is not None
            path = paths[outcome.record.case_id]
            save_mask(outcome.labels, outcome.record.files[0], path, outcome.prepared.source.affine)
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
                    save_mask(whole[0], record.files[0], path, header(record).affine)
                    log.info("%s", path)

            infer(self.cfg, task, self.data, slices, receive, labelled=False)


def _end(record: Record) -> str:
    """Suffix of the label map of a case: NIfTI for a volume that has a place in space, PNG for a picture."""
    path = record.files[0]
    if suffix(path) in NIFTI:
        return suffix(path)
    return ".nii.gz" if suffix(path) in PLACED or path.is_dir() else ".png"  # a DICOM series is its folder


def save_mask(labels: np.ndarray[Any, Any], like: Path, path: Path, affine: np.ndarray[Any, Any]) -> None:
    """A class map with the geometry of the image it was made from (`affine`, and its header where that is NIfTI too);
    whole or not at all."""
    part = path.with_name(f".part-{path.name}")
    if suffix(path) in NIFTI and suffix(like) not in NIFTI:
        image = nib.Nifti1Image(labels, affine)
        image.header.set_xyzt_units("mm")
        nib.save(image, part)
    elif suffix(path) in NIFTI:
        source: Any = nib.load(like)
        image = nib.Nifti1Image(labels.reshape(_shape(source.shape, labels)), source.affine)
        for code, place in (
            (source.header["qform_code"], image.set_qform),
            (source.header["sform_code"], image.set_sform),
        ):
            place(source.affine, int(code) or 1)
        image.header.set_xyzt_units(*source.header.get_xyzt_units())
        nib.save(image, part)
    else:
        Image.fromarray(labels).save(part, format="PNG")
    part.replace(path)


def _shape(source: Any, labels: np.ndarray[Any, Any]) -> tuple[int, ...]:
    """The source's own shape where it differs by axes of 1 only."""
    return tuple(source) if math.prod(source) == labels.size else labels.shape
