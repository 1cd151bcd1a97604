"""Which of the cases that a source lists are used: what is left out is said."""

from __future__ import annotations

import inspect
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from medexp.data.records import Record
from medexp.data.splits.files import excluded, without
from medexp.data.splits.unlabelled import UNLABELLED
from medexp.errors import Faults, UserError
from medexp.seeding import derive

log = logging.getLogger(__name__)
FEW = 5  # patients


def listed_by(
    source: Callable[..., list[Record]],
    root: Path,
    missing: str,
    covariates: Sequence[str] = (),
    unlabelled: bool = False,
) -> list[Record]:
    """What a source lists; one that can is told whether cases may lack a modality, whether they may lack a label because
    something is learnt from those too, and which covariates are wanted. Raises UserError where it has none."""
    takes = inspect.signature(source).parameters
    options: dict[str, Any] = {}
    if missing != "error" and "allow_missing" in takes:
        options["allow_missing"] = True
    if unlabelled and "with_unlabelled" in takes:
        options["with_unlabelled"] = True
    if covariates:
        if "covariates" not in takes:
            what = "tables (csv), BIDS and the phantom have them, this data set has none"
            raise UserError(f"dataset.covariates: {', '.join(covariates)}; {what}; set dataset.covariates=[]")
        options["covariates"] = list(covariates)
    return source(root, **options)


def selected(found: list[Record], root: Path, exclude: str | None, missing: str) -> list[Record]:
    """Cases less those named in the file `exclude` and, where `missing` is "drop", those that lack a modality.

    Raises UserError where there are none, Faults where ids stand twice or, under "error", modalities are lacking.
    """
    if not found:
        raise UserError(f"dataset.root: no cases in {root}; set dataset.root=PATH or another dataset")
    twice = [case for case, count in Counter(record.case_id for record in found).items() if count > 1]
    if twice:
        raise Faults(f"{len(twice)} case ids stand twice in {root}", sorted(twice))
    odd = [f"case {record.case_id!r}: its id {why}" for record in found if (why := _unfit(record.case_id))]
    if odd:
        raise Faults(f"{len(odd)} case ids of {root} cannot be used in file names and lists; rename them", odd)
    if exclude is not None:
        ids = excluded(Path(exclude))
        found = without(found, ids)
        log.info("%d cases are left out, as %s says", len(ids), exclude)
    lacking = [record for record in found if record.missing]
    if lacking and missing == "error":
        listed = [f"case {r.case_id}: has no image for channel {', '.join(map(str, r.missing))}" for r in lacking]
        headline = f"{len(lacking)} of {len(found)} cases lack a modality; set dataset.missing=zero or drop"
        raise Faults(headline, listed)
    if lacking and missing == "drop":
        log.info("%d of %d cases lack a modality and are left out (dataset.missing=drop)", len(lacking), len(found))
        found = [record for record in found if not record.missing]
        if not found:
            raise UserError(f"dataset.missing: drop leaves no case of {root}; set dataset.missing=zero")
    return found


def _unfit(case: str) -> str:
    """Why an id would lead out of a folder or make two of a line."""
    if not case.strip() or case in (".", ".."):
        return "is empty"
    if any(mark in case for mark in ("/", "\\")):
        return "has a slash"
    if not case.isprintable():
        return "has a character that cannot be printed"
    return "has a '#' after a space" if " #" in case or case.startswith("#") else ""


def few(ids: list[str], limit: int | None, slices: bool, whole: bool = False) -> list[str]:
    """As many cases of a part as `limit` allows, of all classes some; of slices those of the first volumes; `whole`: of
    so many volumes as have no more slices together, and one at least, as scores are of volumes."""
    if limit is not None and slices and whole:
        volumes = [case.rpartition("_")[0] for case in ids]
        ends = [i for i in range(1, len(ids) + 1) if i == len(ids) or volumes[i] != volumes[i - 1]]
        return ids[: max((end for end in ends if end <= limit), default=ends[0] if ends else 0)]
    if limit is None or slices:
        return ids[:limit]
    return sorted(sorted(ids, key=lambda case: derive("limit", case))[:limit])


def need_one_size(shapes: Sequence[tuple[int, ...]], batch_size: int) -> None:
    """Whole images of several sizes make no batch. Raises UserError."""
    sizes = sorted(set(shapes))
    if len(sizes) > 1 and batch_size > 1:
        seen = (
            f"none, but cases differ in size ({sizes[0]} to {sizes[-1]} voxels) and dataset.batch_size is {batch_size}"
        )
        raise UserError(
            f"dataset.patch_size: {seen}; set dataset.patch_size or dataset.image_size, take plan=auto, or "
            "dataset.batch_size=1"
        )


def small_parts(parts: Mapping[str, Sequence[Record]]) -> list[str]:
    """A word on parts so small that their scores say little."""
    patients = {part: len({record.group for record in records}) for part, records in parts.items()}
    return [
        f"{part} has {count} patient{'s' * (count != 1)}: scores on so few say little; take folds (dataset.split.fold) or "
        "a split file (dataset.split.file)"
        for part, count in patients.items()
        if part not in ("train", UNLABELLED) and count < FEW
    ]
