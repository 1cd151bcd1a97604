"""Weights from elsewhere in a new run: what came is written down, and whether test patients had a part in them is said."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pandas as pd
from torch import nn

from medexp import build
from medexp.data.module import DataModule
from medexp.errors import UserError
from medexp.run import folder
from medexp.transfer.weights import Weights

log = logging.getLogger(__name__)
TABLE = "transfer.csv"  # a row a tensor: where it is from, or why it is not


def initialise(
    initial: Weights | None, net: nn.Module, run: Path | None, data: DataModule, cfg: dict[str, Any]
) -> None:
    """Puts the weights into the network. run: the folder that is told of it, by one process of several. Raises UserError."""
    report = None if initial is None else initial.into(net)
    if run is not None:
        _warn_of_frozen(cfg)
    if initial is None or report is None or run is None:
        return
    folder.write(run / TABLE, pd.DataFrame(report.rows()).to_csv(index=False))
    log.info("%s (%s)", report.summary(), TABLE)
    source = Path(str(initial.source))
    if (source / folder.CONFIG).is_file() and (source / folder.SPLIT).is_file():
        _warn_of_seen(source, data)


def _warn_of_frozen(cfg: dict[str, Any]) -> None:
    """Says where layers are kept as they were drawn at random."""
    freezing = [key for key, node in cfg["callbacks"].items() if node and "freezing" in str(node.get("_target_"))]
    if freezing and not cfg["init"].get("weights") and not cfg["resume"]:
        log.warning(
            "callbacks.%s: layers stay as they were drawn at random, which helps no training; give init.weights=RUN",
            freezing[0],
        )


def _warn_of_seen(source: Path, data: DataModule) -> None:
    """Says how many test patients the source run was trained on, or chosen by, where both read one data set."""
    try:
        cfg = folder.load(source)
        if Path(cfg["dataset"]["root"]).resolve() != data.root.resolve():
            return
        split = folder.read_json(source / folder.SPLIT)
        patients = {record.case_id: record.group for record in build.datamodule(cfg).records()}
    except UserError as error:
        log.warning("whether %s was trained on patients of the test split is not known: %s", source, error)
        return
    learnt = {patients.get(case, case) for part in ("train", "val") for case in split.get(part, [])}
    tested = {record.group for record in data.parts()["test"]}
    if found := sorted(learnt & tested):
        log.warning(
            "init.weights: %d of %d test patients (e.g. %s) were in training or validation of %s: test scores say nothing "
            "of new patients; give both runs one seed or one split file (dataset.split.file)",
            len(found),
            len(tested),
            found[0],
            source,
        )
