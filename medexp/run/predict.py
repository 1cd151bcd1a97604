"""`medexp predict RUN`: a run's model on new images; nothing but the run folder and the images is needed."""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medexp import build
from medexp.covariates import lacking
from medexp.data import expand
from medexp.data.images import DICOM, PLACED, suffix
from medexp.data.module import DataModule
from medexp.data.records import Record
from medexp.errors import ALIKE, Faults, UserError
from medexp.run import folder, release, studies
from medexp.run.given import inputs_alone
from medexp.run.inputs import forms, inputs
from medexp.run.results import results

log = logging.getLogger(__name__)
ADVISED = re.compile("; set dataset[^;]*(spatial_dims|in_channels)[^;]*$")  # what predict does not take


def predict(run: Path, source: Path, output: Path, checkpoint: str = "best") -> Path:
    """Predicts a file, or every case of a folder: laid out as the run's own data set was, or plain images and DICOM
    series in it or in folders below (see medexp/run/inputs.py).

    Segmentation: a label map a case on the image's own grid, NIfTI for NIfTI (shape, affine, orientation of the input),
    PNG otherwise. Images to images: an image a case. Classification: predictions.csv with a probability a class. A 4D scan
    for a 3D model gives a label map, or row, a time point (CASE_t000 ...); for a model of sequences it is one study
    (medexp/run/studies.py). Returns what was written. Raises UserError.
    """
    cfg = inputs_alone(folder.load(run))
    data = build.datamodule(cfg)
    with advised(cfg, run, data):
        sequence = data.sequence is not None
        records = studies.inputs(source, data) if sequence else timed(inputs(source, data, output), data)
        for word in lacking(data.covariates, [record.covariates for record in records]):
            log.info("dataset.covariates: %s", word)
        found = results(cfg, data)
        paths = found.outputs(records, output)
        task = build.task(cfg)
        build.load_weights(task, folder.weights(run, checkpoint))
        into = paths[records[0].case_id].parent
        try:
            into.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"--output: cannot write to {into} ({error.strerror}); give another folder") from None
        return found.write(task, records, paths) or output


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


def _of_case(problem: str) -> str:
    """A case's problem without its file, as it is said of many: their ids tell the files."""
    return re.sub("^(case [^:]+: )/[^:]*: ", r"\1", problem)


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
        if shape and forms(data) not in text:  # in place of advice that predict does not take
            text = f"{ADVISED.sub('', text)}; {forms(data)}"
        where = run / (release.MODEL if release.is_one(run) else folder.CONFIG)
        return f"{text} ({where} says {', '.join(said)}, and predict keeps to it)"

    try:
        yield
    except Faults as error:
        many = len(error.problems) >= ALIKE
        problems = [_of_case(problem) if many and ADVISED.search(problem) else problem for problem in error.problems]
        raise Faults(line(error.headline), [line(problem) for problem in problems]) from None
    except UserError as error:
        raise UserError(line(str(error))) from None
