"""A part of the training cases: few labels, and those that another run has learnt from."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence

from medexp.errors import UserError
from medexp.seeding import derive

log = logging.getLogger(__name__)


def check_few(limit_train: float | None, skip_train: int) -> None:
    """Raises UserError for numbers that leave nothing."""
    if limit_train is not None and limit_train <= 0:
        raise UserError(f"dataset.split.limit_train: {limit_train} is less than 1; null takes all")
    if limit_train == 1 and isinstance(limit_train, float):
        raise UserError("dataset.split.limit_train: 1.0 may be one case or all of them; give 1, or null for all")
    if limit_train is not None and limit_train > 1 and limit_train != int(limit_train):
        raise UserError(
            f"dataset.split.limit_train: {limit_train} is no number of cases, and no share; give 10, or 0.1 of them"
        )
    if skip_train < 0:
        raise UserError(f"dataset.split.skip_train: {skip_train} is negative; 0 leaves none out")


def few_of(
    train: Sequence[str],
    patients: Mapping[str, str],
    limit_train: float | None,
    skip_train: int,
    strata: Mapping[str, str] | None = None,
) -> list[str]:
    """Training cases less the first `skip_train`, and of the rest at most `limit_train`, in an order that is a hash of the
    patient: 5 cases are among the 10 of the same split, and cases that one run skips another may take. Raises UserError
    where none is left. A limit below 1 is a share of the training cases, before any are skipped: 0.1 are a tenth of them.

    strata: the class of each patient; few cases then have their classes in the shares that all have, as nearly as can be.
    """
    if limit_train is None and not skip_train:
        return list(train)
    if limit_train is not None:
        limit_train = max(round(limit_train * len(train)), 1) if limit_train < 1 else int(limit_train)
    kept = by_hash(train, patients, strata)[skip_train:][:limit_train]
    if not kept:
        raise UserError(f"dataset.split.skip_train: {skip_train} of {len(train)} training cases leaves none; give less")
    log.info("%d of %d training cases are learnt from (dataset.split.limit_train, skip_train)", len(kept), len(train))
    return sorted(kept)


def by_hash(cases: Sequence[str], patients: Mapping[str, str], strata: Mapping[str, str] | None = None) -> list[str]:
    """Cases in an order that is a hash of the patient, whose cases follow each other; by turns of the strata, if given: the
    k-th of n patients of a class comes at (k - 1/2) / n, so that any first part of the order has all classes in proportion.
    """
    drawn = {patient: derive("few", patient) for patient in {patients[case] for case in cases}}
    members: dict[str, list[str]] = defaultdict(list)
    for patient in sorted(drawn, key=lambda patient: (drawn[patient], patient)):
        members[(strata or {}).get(patient, "")].append(patient)
    turn = {name: (rank + 0.5) / len(names) for names in members.values() for rank, name in enumerate(names)}
    return sorted(cases, key=lambda case: (turn[patients[case]], drawn[patients[case]], patients[case], case))
