"""`medexp predict RUN`: a run's model on new images; nothing but the run folder and the images is needed."""

from __future__ import annotations

import inspect
import logging
import math
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
from PIL import Image

from medexp import build
from medexp.data import expand
from medexp.data.images import DICOM, NIFTI, PLACED, header, suffix
from medexp.data.module import DataModule
from medexp.data.records import Record
from medexp.errors import Faults, UserError
from medexp.run import folder
from medexp.run.inference import Outcome, infer
from medexp.run.inputs import forms, inputs
from medexp.run.volumes import Volumes

log = logging.getLogger(__name__)


def predict(run: Path, source: Path, output: Path, checkpoint: str = "best") -> Path:
    """Predicts a file, or every case of a folder: laid out as the run's own data set was, or plain images and DICOM
    series in it or in folders below (see medexp/run/inputs.py).

    Segmentation: a label map a case on the image's own grid, NIfTI for NIfTI (shape, affine, orientation of the input),
    PNG otherwise. Classification: predictions.csv with a probability a class. A 4D scan for a 3D model gives a label map,
    or row, a time point (CASE_t000 ...). Returns what was written. Raises UserError.
    """
    cfg = folder.load(run)
    data = build.datamodule(cfg)
    with advised(cfg, run, data):
        records = timed(inputs(source, data, output), data)
        paths = outputs(records, output, dense=data.target == "mask")
        task = build.task(cfg)
        build.load_weights(task, run / "checkpoints" / f"{checkpoint}.ckpt")
        into = paths[records[0].case_id].parent
        try:
            into.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"--output: cannot write to {into} ({error.strerror}); give another folder") from None
        if data.target == "mask":
            _masks(cfg, task, data, records, paths)
            return output
        return _table(cfg, task, data, records, paths[records[0].case_id])


def timed(records: Sequence[Record], data: DataModule) -> list[Record]:
    """A record a time point of the 4D scans for a 3D model. A file whose header cannot be read stays as it is: predicting says why."""
    if data.plane is None and data.preparation.spatial_dims == 2 and data.times is None:
        return list(records)
    channels = data.preparation.file_channels

    def cut(record: Record) -> list[Record]:
        path = record.files[0]
        together = channels > 1 and len(record.images) == 1 and data.times is None  # a fourth axis is of channels
        if together or not (path.is_dir() or suffix(path) in (*PLACED, *DICOM)):
            return [record]
        try:
            return expand.time_points([record], channels)
        except UserError:
            return [record]

    with ThreadPoolExecutor() as pool:
        found = list(pool.map(cut, records))
    points = [len(one) for one in found if len(one) > 1]
    if points:
        log.info("%d scans are 4D: each of their %d time points is a case (CASE_t000 ...)", len(points), sum(points))
    return [record for one in found for record in one]


@contextmanager
def advised(cfg: dict[str, Any], run: Path, data: DataModule) -> Iterator[None]:
    """Within: a message that advises a key of the data set also says what the run's config has there, as predict takes none."""

    def line(text: str) -> str:
        parameters, said = inspect.signature(DataModule).parameters, []
        for key in dict.fromkeys(re.findall(r"dataset\.(\w+)", text)):
            if key in parameters and key not in ("root", "source"):
                value = cfg["dataset"].get(key, parameters[key].default)
                said.append(f"dataset.{key}={'null' if value is None else value}")
        if not said:
            return text
        shape = "in_channels" in text or "spatial_dims" in text
        what = "" if not shape or forms(data) in text else f": {forms(data)}"
        return f"{text} ({run / 'config.yaml'} says {', '.join(said)}, and predict keeps to it{what})"

    try:
        yield
    except Faults as error:
        raise Faults(line(error.headline), [line(problem) for problem in error.problems]) from None
    except UserError as error:
        raise UserError(line(str(error))) from None


def outputs(records: list[Record], output: Path, dense: bool) -> dict[str, Path]:
    """File that each case goes to. Raises UserError before anything is written: no input, and no foreign table, is lost."""
    single = bool(suffix(output)) or output.suffix == ".csv"
    if not dense:
        path = output if output.suffix == ".csv" else output / "predictions.csv"
        if suffix(output):
            raise UserError(f"--output: {output} is an image; this model classifies: give FILE.csv or a folder")
        if path.is_file() and not path.read_text(encoding="utf-8", errors="replace").startswith("case_id,prediction"):
            raise UserError(f"--output: {path} is there and no table of predictions; give another file")
        return {record.case_id: path for record in records}
    if single and len(records) > 1:
        raise UserError(f"--output: {output} is one file for {len(records)} cases; give a folder")
    paths = {}
    for record in records:
        end = _end(record)
        ends = NIFTI if end in NIFTI else (end,)
        if single and not output.name.lower().endswith(ends):
            raise UserError(
                f"--output: {output.name}, but {record.files[0].name} gives a {' or '.join(ends)}; give that or a folder"
            )
        path = output if single else output / f"{record.case_id}{end}"
        if any(path.exists() and path.samefile(image) for image in record.files):
            raise UserError(f"--output: {path} is the image itself; give another folder or file")
        paths[record.case_id] = path
    return paths


def _end(record: Record) -> str:
    """Suffix of the label map of a case: NIfTI for a volume that has a place in space, PNG for a picture."""
    path = record.files[0]
    if suffix(path) in NIFTI:
        return suffix(path)
    return ".nii.gz" if suffix(path) in PLACED or path.is_dir() else ".png"  # a DICOM series is its folder


def _masks(cfg: dict[str, Any], task: Any, data: DataModule, records: list[Record], paths: dict[str, Path]) -> None:
    if data.plane is not None:
        return _stacks(cfg, task, data, records, paths)

    def receive(outcome: Outcome) -> None:
        assert outcome.labels is not None
        path = paths[outcome.record.case_id]
        save_mask(outcome.labels, outcome.record.files[0], path, outcome.prepared.source.affine)
        log.info("%s", path)

    infer(cfg, task, data, records, receive, labelled=False)


def _stacks(cfg: dict[str, Any], task: Any, data: DataModule, records: list[Record], paths: dict[str, Path]) -> None:
    """Volumes, slice by slice: a map is written once its last slice is there."""
    assert data.plane is not None
    for record in records:
        slices = expand.slices([record], data.plane)
        volumes = Volumes(slices)

        def receive(outcome: Outcome, volumes: Volumes = volumes, record: Record = record) -> None:
            assert outcome.labels is not None
            whole = volumes.add(outcome.record, outcome.labels)
            if whole is not None:
                path = paths[record.case_id]
                save_mask(whole[0], record.files[0], path, header(record).affine)
                log.info("%s", path)

        infer(cfg, task, data, slices, receive, labelled=False)


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


def _table(cfg: dict[str, Any], task: Any, data: Any, records: list[Record], path: Path) -> Path:
    rows: list[dict[str, Any]] = []

    def receive(outcome: Outcome) -> None:
        values = outcome.probabilities.tolist()
        if data.target == "binary":
            values = [1 - values[0], values[0]]
        chances = {f"prob_{name}": round(value, 6) for name, value in zip(data.classes, values, strict=True)}
        if data.target == "multilabel":
            chosen = ";".join(name for name, value in zip(data.classes, values, strict=True) if value >= 0.5)
        else:
            chosen = data.classes[int(np.argmax(values))]
        rows.append({"case_id": outcome.record.case_id, "prediction": chosen, **chances})

    try:
        infer(cfg, task, data, records, receive, labelled=False)
    finally:  # one unreadable image does not cost the others
        if rows:
            folder.write(path, pd.DataFrame(rows).to_csv(index=False))
            log.info("%s", path)
    return path
