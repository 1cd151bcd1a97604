"""What `medexp predict` finds at --input for models of studies with several frames."""

from __future__ import annotations

import logging
from pathlib import Path

from medexp.data import expand
from medexp.data.frames import count, part
from medexp.data.images import stem, suffix
from medexp.data.module import DataModule
from medexp.data.records import Record
from medexp.data.sources import studies, visits
from medexp.data.sources.table import read_table
from medexp.errors import UserError

log = logging.getLogger(__name__)
FORMS = "give a scan with an axis of time, a folder of frames or of such scans, or a table (columns study, image, time, value)"


def inputs(source: Path, data: DataModule) -> list[Record]:
    """Studies at a path, without what is to be predicted: a 4D file, a folder of frames, a folder of either, or a
    table of frames. Of a model that learnt from windows, the newest frames, as many as it saw there.
    Raises UserError."""
    if not source.exists():
        raise UserError(f"--input: {source} does not exist; {FORMS}")
    assert data.sequence is not None
    dims = data.preparation.spatial_dims
    if source.is_file() and source.suffix == ".csv":
        found = _of_table(source, data)
    elif source.is_file():
        if not suffix(source):
            raise UserError(f"--input: {source} is no image that can be read; {FORMS}")
        found = [Record(stem(source), (source,))]
    else:
        options = getattr(data.source, "keywords", {}) if getattr(data.source, "func", None) is studies.records else {}
        found = studies.records(source.absolute(), **{**options, "spatial_dims": dims})
        if not options and len(found) == 1 and len(found[0].files) > 1:
            log.warning(
                "%s: its %d images are taken for the frames of one study, in the order of their names; of several studies give a "
                "folder each, or a table (columns study, image, time)",
                source,
                len(found[0].files),
            )
    found = expand.frames(found, dims)
    log.info("%s: %d studies of %d frames in all", source, len(found), sum(map(count, found)))
    if data.sequence.length is None:
        return found
    seen = data.sequence.length - data.sequence.horizon
    return [part(record, max(count(record) - seen, 0), count(record)) for record in found]


def _of_table(source: Path, data: DataModule) -> list[Record]:
    """Of a run that learnt from a table, with the columns of that; else study, image and, where they are there, time and
    value."""
    if getattr(data.source, "func", None) is visits.records:
        options = {**getattr(data.source, "keywords", {}), "target": None}
        if options.get("value") not in read_table(source).columns:  # what is to be predicted need not be known
            options["value"] = None
    else:
        columns = read_table(source).columns
        options = {name: name for name in ("time", "value") if name in columns}
    return visits.records(source.absolute().parent, **{**options, "csv": source.name})
