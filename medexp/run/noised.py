"""noisy_labels.csv: which training cases were given a wrong class on purpose."""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd

from medexp.data.module import DataModule
from medexp.run import folder

log = logging.getLogger(__name__)
NOISY = "noisy_labels.csv"


def record(data: DataModule, run: Path) -> None:
    """Writes a row a case: its id, its class, the one that it was given; nothing where `dataset.label_noise` is 0."""
    if not data.label_noise:
        return
    true = {record.case_id: record.target for record in data.records()}
    given = {record.case_id: record.target for record in data.parts()["train"]}
    rows = [{"case_id": case, "class": true[case], "given": given[case]} for case in given if given[case] != true[case]]
    log.info("%d of %d training cases were given a wrong class on purpose (%s)", len(rows), len(given), NOISY)
    folder.write(run / NOISY, pd.DataFrame(rows, columns=["case_id", "class", "given"]).to_csv(index=False))
