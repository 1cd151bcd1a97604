"""Weights from elsewhere in a new run: what came is written down, and whether test patients had a part in them is said."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pandas as pd
from torch import nn

from medexp.data.module import DataModule
from medexp.run import folder
from medexp.run.seen import warn, warn_of
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
        warn(cfg, data)
    if initial is None or report is None or run is None:
        return
    folder.write(run / TABLE, pd.DataFrame(report.rows()).to_csv(index=False))
    log.info("%s (%s)", report.summary(), TABLE)
    warn_of("init.weights", Path(str(initial.source)), data)


def _warn_of_frozen(cfg: dict[str, Any]) -> None:
    """Says where layers are kept as they were drawn at random."""
    freezing = [key for key, node in cfg["callbacks"].items() if node and "freezing" in str(node.get("_target_"))]
    if freezing and not cfg["init"].get("weights") and not cfg["resume"]:
        log.warning(
            "callbacks.%s: layers stay as they were drawn at random, which helps no training; give init.weights=RUN",
            freezing[0],
        )
