"""Several runs as one model: the mean of their probabilities on the source grid, whatever each makes of a case in between.

Runs of other seeds, folds, networks, spacings; or slices of three planes (2.5D), of which the volumes' maps are averaged.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medexp import build
from medexp.data import expand
from medexp.data.formats.part import slice_axis
from medexp.data.images import header
from medexp.data.module import DataModule
from medexp.data.records import Record
from medexp.errors import UserError
from medexp.run import folder
from medexp.run.inference import Outcome, infer
from medexp.run.volumes import Array, volume_id
from medexp.tasks.base import Task

log = logging.getLogger(__name__)
KINDS = ("mask", "index", "binary", "multilabel", "value")  # of targets whose predictions have a mean


@dataclass(frozen=True)
class Member:
    """One run: its folder as it was given, and what it is rebuilt to."""

    name: str
    run: Path
    cfg: dict[str, Any]
    data: DataModule
    task: Task

    def cases(self, records: Sequence[Record]) -> dict[str, list[Record]]:
        """Records by what a person calls a case: the slices of a volume together."""
        found: dict[str, list[Record]] = {}
        for record in records:
            found.setdefault(record.case_id if record.slice is None else volume_id(record), []).append(record)
        return found

    def outcomes(self, records: Sequence[Record], labelled: bool) -> list[Outcome]:
        """Of a case, or of all slices of one, with probabilities on the source grid."""
        kept: list[Outcome] = []
        infer(self.cfg, self.task, self.data, records, kept.append, labelled=labelled, soft=True)
        return kept


def members(runs: Sequence[Path], checkpoint: str, root: str | None = None) -> list[Member]:
    """The runs, ready to predict. root: another folder of cases than their own. Raises UserError where they do not predict
    the same."""
    cfgs = [folder.load(run) for run in runs]
    names = [str(run) for run in runs]
    if len(set(map(Path.absolute, runs))) < len(runs):
        raise UserError("RUN: a run stands twice; name each once")
    first = cfgs[0]
    for name, cfg in zip(names, cfgs, strict=True):
        kind = cfg["task"]["target"]
        if kind not in KINDS:
            raise UserError(f"{name}: predictions of task.target={kind} have no mean; runs of {', '.join(KINDS)} have")
        for group, key in (("task", "target"), ("dataset", "classes"), ("dataset", "targets")):
            one, other = first[group].get(key), cfg[group].get(key)
            if one != other:
                raise UserError(
                    f"{name}: {group}.{key} is {other}, of {names[0]} {one}; together go runs of the same classes"
                )
        if root is not None:
            cfg["dataset"] |= {"root": root, "limit": None}
    return [_member(name, run, cfg, checkpoint) for name, run, cfg in zip(names, runs, cfgs, strict=True)]


def _member(name: str, run: Path, cfg: dict[str, Any], checkpoint: str) -> Member:
    task = build.task(cfg)
    build.load_weights(task, folder.weights(run, checkpoint))
    return Member(name, run, cfg, build.datamodule(cfg), task)


@dataclass(frozen=True)
class Case:
    """What all members make of one case. records: of the first member, its slices or the case itself. each: of every member
    what it makes of it alone; mean: all together. Of maps, classes on the source grid; else scores."""

    case_id: str
    records: list[Record]
    first: Outcome
    each: list[Any]
    mean: Any

    @property
    def record(self) -> Record:
        """The whole case, in the file that it comes from."""
        return replace(self.records[0], case_id=self.case_id, slice=None)


def together(
    among: Sequence[Member], cases: Sequence[dict[str, list[Record]]], wanted: Sequence[str], labelled: bool
) -> Iterator[Case]:
    """Each wanted case through all members. cases: of each member, by case id."""
    maps = among[0].data.target == "mask"
    if maps:  # one case after the other: probabilities of a volume are large
        for case in wanted:
            yield _mapped(among, [found[case] for found in cases], case)
        return
    by_member = [
        {outcome.record.case_id: outcome for outcome in member.outcomes([found[case][0] for case in wanted], labelled)}
        for member, found in zip(among, cases, strict=True)
    ]
    for case in wanted:
        outcomes = [found[case] for found in by_member]
        each = [outcome.probabilities for outcome in outcomes]
        yield Case(case, cases[0][case], outcomes[0], each, torch.stack(each).mean(dim=0))


def _mapped(among: Sequence[Member], records: Sequence[list[Record]], case: str) -> Case:
    total: Array | None = None
    each, first = [], None
    for member, own in zip(among, records, strict=True):
        outcomes = member.outcomes(own, labelled=False)
        chances = whole(outcomes)
        first = first or outcomes[0]
        if total is not None and total.shape != chances.shape:
            seen = f"{chances.shape[1:]} voxels, in {among[0].name} {total.shape[1:]}"
            raise UserError(f"case {case}: in {member.name} has {seen}; give runs that read the same files")
        each.append(_classes(chances))
        total = chances if total is None else np.add(total, chances, out=total)
    assert total is not None
    assert first is not None
    return Case(case, list(records[0]), first, each, _classes(total))


def _classes(chances: Array) -> Array:
    return chances.argmax(axis=0).astype(np.uint8 if len(chances) <= 256 else np.uint16)


def whole(outcomes: Sequence[Outcome]) -> Array:
    """(K, *source shape): slices stacked as the volume's file has them."""
    if outcomes[0].record.slice is None:
        return outcomes[0].probabilities.numpy()
    ordered = sorted(outcomes, key=lambda outcome: outcome.record.slice.index if outcome.record.slice else 0)
    record = ordered[0].record
    assert record.slice is not None
    axis = slice_axis(header(record).affine, record.slice.plane)
    return np.stack([outcome.probabilities.numpy() for outcome in ordered], axis=axis + 1)


def expanded(member: Member, records: Sequence[Record]) -> dict[str, list[Record]]:
    """By case id, what a member reads of each: its slices, where it is a model of slices."""
    if member.data.plane is None:
        return {record.case_id: [record] for record in records}
    sliced = expand.slices(records, member.data.plane, member.data.neighbours)
    return member.cases(sliced)
