"""`medexp evaluate RUN`: a run's model against labels, a row a case and a summary."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medexp import build
from medexp.data.module import DataModule
from medexp.data.records import Record
from medexp.data.splits.make import check_split
from medexp.errors import UserError
from medexp.run import figures, folder
from medexp.run.inference import Outcome, infer
from medexp.run.volumes import Array, Volumes, volume_id, volume_spacing
from medexp.tasks.base import Task

log = logging.getLogger(__name__)


def evaluate(
    run: Path, data_root: str | None = None, output: Path | None = None, checkpoint: str = "best"
) -> dict[str, Any]:
    """Evaluates a run's checkpoint on its test split, or on all labelled cases of another folder of the same format.

    Writes per_case.csv, summary.json and figures/ to `output` (default: the run folder itself, or
    RUN/evaluations/<name of the folder> for other data). Returns the summary. Raises UserError.
    """
    cfg = folder.load(run)
    target = output or (run if data_root is None else run / "evaluations" / Path(data_root).absolute().name)
    if data_root is not None:
        root = Path(data_root).expanduser().absolute()
        if not root.exists() or (root.is_dir() and not any(root.iterdir())):
            raise UserError(
                f"--data: {root} {'is empty' if root.exists() else 'does not exist'}; give a folder of labelled cases"
            )
        cfg["dataset"] |= {"root": str(root), "limit": None}
        if output is not None and output.absolute() == run.absolute():
            raise UserError(
                "--output: is the run folder itself, whose results are of its own test split; give another folder"
            )
    data = build.datamodule(cfg)
    if data_root is None:
        data.split = folder.read_json(run / folder.SPLIT)
        check_split(data.split or {}, data.records())
        records = data.parts()["test"]
    else:
        records = labelled(data)
    task = build.task(cfg)
    build.load_weights(task, run / "checkpoints" / f"{checkpoint}.ckpt")
    part = "test" if data_root is None else "all labelled"
    return score(cfg, task, data, records, target, checkpoint, part)


def labelled(data: DataModule) -> list[Record]:
    """All cases of a data set that have what the task is evaluated on."""
    records = data.records()
    found = [record for record in records if (record.label if data.target == "mask" else record.target) is not None]
    if len(found) < len(records):
        log.info("%d of %d cases have no label and are left out", len(records) - len(found), len(records))
    if not found:
        raise UserError(f"--data: no labelled cases in {data.root}")
    return found[: data.limit]


def score(
    cfg: dict[str, Any], task: Task, data: DataModule, records: list[Record], output: Path, checkpoint: str, part: str
) -> dict[str, Any]:
    """Predicts, compares and writes the results into `output`."""
    scorer = build.scorer(cfg)
    rows: list[dict[str, Any]] = []
    volumes = Volumes(records) if data.plane is not None else None
    count = len(records if volumes is None else volumes)
    drawn = figures.Figures(output / "figures", data.classes, cfg["figures"], count)
    log.info("evaluating %d cases (%s)", count, part)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--output: cannot write to {output} ({error.strerror}); give another folder") from None

    def receive(outcome: Outcome) -> None:
        case_id = outcome.record.case_id
        if outcome.labels is None:
            assert outcome.target is not None
            row = scorer.case(outcome.probabilities.numpy(), outcome.target.numpy(), ())
        else:
            labels, truth, spacing = *_label_maps(data, outcome), outcome.prepared.source.spacing
            if volumes is not None:
                whole = volumes.add(outcome.record, labels, truth)
                if whole is None:
                    return
                (labels, truth), spacing = whole, volume_spacing(outcome.record)
                case_id = volume_id(outcome.record)
            row = scorer.case(labels, truth, spacing)
        rows.append({"case_id": case_id, **row})
        drawn.add(outcome, row)

    infer(cfg, task, data, records, receive, labelled=True)
    drawn.finish(rows)
    summary = {
        "run": cfg["name"],
        "checkpoint": checkpoint,
        "part": part,
        "cases": len(rows),
        "seed": cfg["seed"],
        "metrics": scorer.summarize([{k: v for k, v in row.items() if k != "case_id"} for row in rows]),
    }
    folder.write(output / folder.PER_CASE, pd.DataFrame(rows).to_csv(index=False))
    folder.write_json(output / folder.SUMMARY, summary)
    return summary


def _label_maps(data: DataModule, outcome: Outcome) -> tuple[Array, Array]:
    """Prediction and truth on the source grid; outside of the field of view both are background."""
    assert outcome.labels is not None
    truth = data.preparation.read_label(outcome.record).array
    region = data.preparation.region(outcome.record)
    return (outcome.labels if region is None else np.where(region, outcome.labels, 0)), truth
