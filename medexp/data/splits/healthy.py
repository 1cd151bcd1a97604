"""A split for learning what is normal: findings are for the test alone."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import Literal

from medexp.data.records import Record
from medexp.data.splits.make import Split, make_split
from medexp.errors import UserError

log = logging.getLogger(__name__)


def healthy_split(
    records: list[Record],
    *,
    seed: int,
    val: float = 0.15,
    test: float = 0.2,
    fold: int | None = None,
    folds: int = 5,
    stratify: bool = True,
    strata: Mapping[str, str] | None = None,
    file: str | None = None,
    unlisted: Literal["error", "leave_out"] = "error",
    left_out: Collection[str] = (),
) -> Split:
    """`make_split`, less the training and validation cases whose label map has a finding (any class but the background).

    The test split has both. strata: the rarest finding of each case that has one, from the label maps. Raises UserError
    where no healthy case is left for a part, or where a split that was given keeps the label maps from being read.
    """
    if strata is None or not stratify:
        raise UserError(
            "dataset.split: which cases are healthy is read from label maps, which takes a split drawn here: leave "
            "dataset.split.file and the data set's own parts out, dataset.split.stratify=true, and task=anomaly"
        )
    options = {"val": val, "test": test, "fold": fold, "folds": folds, "stratify": stratify, "strata": strata}
    split = make_split(records, seed=seed, file=file, unlisted=unlisted, left_out=left_out, **options)  # type: ignore[arg-type]
    healthy = {part: [case for case in split[part] if case not in strata] for part in ("train", "val")}
    for part, cases in healthy.items():
        if not cases:
            raise UserError(
                f"dataset.split: no {part} case is without a finding; add healthy cases, or change dataset.split.test"
            )
        log.info(
            "%s: %d cases with findings are left out, %d learnt from are healthy",
            part,
            len(split[part]) - len(cases),
            len(cases),
        )
    return {**healthy, "test": split["test"]}
