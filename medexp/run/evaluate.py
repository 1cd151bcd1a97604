"""`medexp evaluate RUN`: a run's model against labels, a row a case and a summary."""

from __future__ import annotations

import copy
import logging
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from medexp import build
from medexp.data.module import DataModule
from medexp.data.records import Record
from medexp.data.splits.make import check_split
from medexp.data.splits.unlabelled import UNLABELLED, has_label
from medexp.data.store.content import Contents
from medexp.errors import UserError, counted
from medexp.run import folder, missing
from medexp.run.results import results
from medexp.run.volumes import volume_id
from medexp.targets import KINDS
from medexp.tasks.base import Task

log = logging.getLogger(__name__)


def evaluate(
    run: Path,
    data_root: str | None = None,
    output: Path | None = None,
    checkpoint: str = "best",
    without: Sequence[str] = (),
) -> dict[str, Any]:
    """Evaluates a run's checkpoint on its test split, or on all labelled cases of another folder of the same format.

    Writes per_case.csv, summary.json and figures/ to `output` (default: the run folder itself, or
    RUN/evaluations/<name of the folder> for other data). In the summary of other data stand the cases that the run has
    seen in training or validation (`n_seen_in_training`, see `seen`). without: modalities to leave out in turn (see
    missing.py). Returns the summary. Raises UserError.
    """
    cfg = folder.load(run)
    channels = missing.asked(cfg, without)
    trained = copy.deepcopy(cfg)
    target = output or (run if data_root is None else run / "evaluations" / Path(data_root).absolute().name)
    if output is not None and (data_root is not None or output.absolute() != run.absolute()):
        folder.no_run(output)
    if data_root is not None:
        root = Path(data_root).expanduser().absolute()
        if not root.exists() or (root.is_dir() and not any(root.iterdir())):
            raise UserError(
                f"--data: {root} {'is empty' if root.exists() else 'does not exist'}; give a folder of labelled cases"
            )
        cfg["dataset"] |= {"root": str(root), "limit": None}
    data = build.datamodule(cfg)
    if data_root is None:
        data.split = folder.read_json(run / folder.SPLIT)
        check_split(data.split or {}, data.records())
        records = data.parts()["test"]
    else:
        records = labelled(data)
    task = build.task(cfg)
    build.load_weights(task, folder.weights(run, checkpoint))
    part = "test" if data_root is None else "all labelled"
    known = {} if data_root is None else seen(trained, run, data, records)
    summary = score(cfg, task, data, records, target, checkpoint, part, known)
    summary = missing.report(cfg, task, data, records, channels, target, summary)
    log.info("results: %s and %s in %s", folder.PER_CASE, folder.SUMMARY, target)
    return summary


def seen(trained: dict[str, Any], run: Path, data: DataModule, records: Sequence[Record]) -> dict[str, Any]:
    """Which of these cases the run was trained on, or chosen its checkpoint by (train and val of its split.json).

    Compared are the bytes of the image files; case ids where the run's own files are no longer there (`seen_by` says
    which; None, and no count, without split.json). A warning says how many.
    """
    try:
        split = folder.read_json(run / folder.SPLIT)
    except UserError as error:
        log.warning("whether the run was trained on these cases is not known: %s", error)
        return {"n_seen_in_training": None, "seen_in_training": [], "seen_by": None}
    ids = [case for part in ("train", "val", UNLABELLED) for case in split.get(part, [])]
    own = {record.case_id: record for record in _own(trained)}
    with tempfile.TemporaryDirectory() as elsewhere:
        contents = _contents(data.store, Path(elsewhere))
        keys = {case: _content(own.get(case), contents) for case in ids}
        there, gone = {key for key in keys.values() if key}, {case for case, key in keys.items() if key is None}
        found = [r for r in records if r.case_id in gone or (there and _content(r, contents) in there)]
        with suppress(UserError):
            contents.save()
    names = [record.case_id if data.plane is None else volume_id(record) for record in found]
    names = list(dict.fromkeys(names))
    if gone:
        log.warning(
            "%d of %d training cases are no longer in %s: known by case id only",
            len(gone),
            len(ids),
            trained["dataset"]["root"],
        )
    if names:
        log.warning(
            "%d cases were seen in training or validation (e.g. %s): scores on them say nothing of new cases",
            len(names),
            names[0],
        )
    by = "case id" if not there else "content, case id" if gone else "content"
    return {"n_seen_in_training": len(names), "seen_in_training": names, "seen_by": by}


def _own(trained: dict[str, Any]) -> list[Record]:
    """Cases of the run's own data set; none where it is gone (a phantom would be written anew)."""
    if not Path(trained["dataset"]["root"]).exists():
        return []
    try:
        return build.datamodule(trained).records()
    except (UserError, OSError):
        return []


def _contents(store: Path | None, elsewhere: Path) -> Contents:
    """Digests of the store, where training has left those of its files; else of this once."""
    if store is not None:
        with suppress(UserError):
            return Contents(store)
    return Contents(elsewhere)


def _content(record: Record | None, contents: Contents) -> str | None:
    """Of the images of a case; None where they cannot be read."""
    if record is None:
        return None
    try:
        return contents.of(replace(record, region=None), label=False)
    except OSError:
        return None


def labelled(data: DataModule) -> list[Record]:
    """All cases of a data set that have what the task is evaluated on."""
    records = data.records()
    kind = KINDS[data.target]
    if not kind.provides or not (kind.encoded or kind.label_map):  # what is learnt is in the images themselves
        return records[: data.limit]
    found = [record for record in records if has_label(record, data.target)]
    if len(found) < len(records):
        log.info("%d of %d cases have no label and are left out", len(records) - len(found), len(records))
    if not found:
        raise UserError(f"--data: no labelled cases in {data.root}")
    return found[: data.limit]


def score(
    cfg: dict[str, Any],
    task: Task,
    data: DataModule,
    records: list[Record],
    output: Path,
    checkpoint: str,
    part: str,
    known: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Predicts, compares and writes the results into `output`. known: what else the summary says of the cases."""
    scorer, found = build.scorer(cfg), results(cfg, data)
    log.info("evaluating %s (%s)", counted(found.begin(records, output / "figures"), "case"), part)
    _make(output)
    rows = found.rows(task, records, scorer)
    found.finish(rows)
    summary = {
        "run": cfg["name"],
        "checkpoint": checkpoint,
        "part": part,
        "cases": len(rows),
        "seed": cfg["seed"],
        **(known or {}),
        "metrics": found.summary(rows, scorer),
    }
    folder.write(output / folder.PER_CASE, pd.DataFrame(rows).to_csv(index=False))
    folder.write_json(output / folder.SUMMARY, summary)
    return summary


def _make(output: Path) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--output: cannot write to {output} ({error.strerror}); give another folder") from None
