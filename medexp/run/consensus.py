"""`medexp evaluate RUN RUN ...` and `medexp predict RUN RUN ...`: several runs as one model, beside each of them alone."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from medexp import build
from medexp.data import annotated
from medexp.data.images import header, read_image
from medexp.data.preparation.prepare import Preparation, Prepared
from medexp.data.preparation.source_grid import Grid, Way
from medexp.data.records import Record
from medexp.data.splits.make import check_split
from medexp.errors import UserError
from medexp.run import evaluate as alone
from medexp.run import folder
from medexp.run import predict as one
from medexp.run.ensemble import Case, Member, expanded, members, together
from medexp.run.figures import Panels
from medexp.run.inference import Outcome
from medexp.run.inputs import inputs
from medexp.run.results import results
from medexp.run.results.base import Results, Tabular
from medexp.run.results.files import save_image
from medexp.targets import IGNORED

log = logging.getLogger(__name__)
TABLE, TOGETHER = "members.csv", "together"
Cases = dict[str, list[Record]]


def evaluated(
    runs: Sequence[Path], data_root: str | None, output: Path | None, checkpoint: str, without: Sequence[str]
) -> dict[str, Any]:
    """`medexp evaluate` of one run, or of several. Raises UserError."""
    if len(runs) == 1:
        return alone.evaluate(runs[0], data_root, output, checkpoint, without)
    if without:
        raise UserError("--without: is for one run; leave it out, or give one")
    return evaluate(runs, data_root, output, checkpoint)


def predicted(runs: Sequence[Path], source: Path, output: Path, checkpoint: str) -> Path:
    """`medexp predict` of one run, or of several. Raises UserError."""
    if len(runs) == 1:
        return one.predict(runs[0], source, output, checkpoint)
    return predict(runs, source, output, checkpoint)


def evaluate(
    runs: Sequence[Path], data_root: str | None = None, output: Path | None = None, checkpoint: str = "best"
) -> dict[str, Any]:
    """Scores several runs as one, and each alone, on the cases that are in the test split of all of them, or on all labelled
    cases of another folder. Writes per_case.csv, summary.json and figures/ of them together, and members.csv with each
    alone, to `output` (default: outputs/together/<time>). Returns the summary. Raises UserError."""
    if output is not None:
        folder.no_run(output)
    among = members(runs, checkpoint, None if data_root is None else str(Path(data_root).expanduser().absolute()))
    cases = [member.cases(_records(member, data_root)) for member in among]
    wanted = [case for case in cases[0] if all(case in found for found in cases)]
    if not wanted:
        raise UserError(
            "RUN: no case is in the test split of all runs (other folds or seeds have other ones); give --data ROOT"
        )
    aside = {case for found in cases for case in found} - set(wanted)
    if aside:
        log.warning("%d cases are left out: not of the test split of every run (e.g. %s)", len(aside), sorted(aside)[0])
    target = output or folder.fresh(TOGETHER, None)
    summary = _Scored(among, target).run(cases, wanted, "test" if data_root is None else "all labelled")
    if data_root is not None:
        summary |= {"seen": {member.name: _seen(member, found) for member, found in zip(among, cases, strict=True)}}
    folder.write_json(target / folder.SUMMARY, summary | {"checkpoint": checkpoint})
    log.info("results: %s, %s and %s in %s", folder.PER_CASE, folder.SUMMARY, TABLE, target)
    return summary | {"checkpoint": checkpoint}


def _records(member: Member, data_root: str | None) -> list[Record]:
    if data_root is not None:
        return alone.labelled(member.data)
    member.data.split = folder.read_json(member.run / folder.SPLIT)
    check_split(member.data.split or {}, member.data.records())
    return member.data.parts()["test"]


def _seen(member: Member, found: Cases) -> int | None:
    records = [record for case in found.values() for record in case]
    known = alone.seen(folder.load(member.run), member.run, member.data, records)
    count: int | None = known["n_seen_in_training"]
    return count


class _Scored:
    """Rows of them together and of each alone, as cases come."""

    def __init__(self, among: Sequence[Member], output: Path) -> None:
        self.among, self.output, self.first = among, output, among[0]
        self.scorers = [build.scorer(self.first.cfg) for _ in range(len(among) + 1)]
        self.rows: list[list[dict[str, Any]]] = [[] for _ in self.scorers]

    def run(self, cases: Sequence[Cases], wanted: Sequence[str], part: str) -> dict[str, Any]:
        log.info("evaluating %d cases (%s) with %d runs", len(wanted), part, len(self.among))
        cfg, maps, figures = self.first.cfg, self.first.data.target == "mask", self.output / "figures"
        panels = Panels(figures, self.first.data.classes, cfg["figures"], len(wanted))
        found = None if maps else self._begun(results(cfg, self.first.data), cases[0], wanted)
        for case in together(self.among, cases, wanted, labelled=not maps):
            if found is None:
                self._map(case, panels)
            else:
                self._scores(case, found)
        panels.finish() if found is None else found.finish(self.rows[0])
        return self._written(part)

    def _begun(self, found: Results, cases: Cases, wanted: Sequence[str]) -> Results:
        found.begin([cases[case][0] for case in wanted], self.output / "figures")
        return found

    def _scores(self, case: Case, found: Results) -> None:
        for place, scores in enumerate((case.mean, *case.each)):
            outcome = replace(case.first, scores=scores)
            row = found.row(outcome, self.scorers[place])
            assert row is not None
            self.rows[place].append({"case_id": row[0], **row[1]})
            if place == 0:
                found.draw(outcome, row[1])

    def _map(self, case: Case, panels: Panels) -> None:
        plain = _plain(self.first)
        first, spacing = self.first.data, plain.read_label(case.record).spacing
        told = first.annotation, len(first.classes), first.seed
        truth, region = annotated.truth(case.record, plain, *told), plain.region(case.record)
        for place, labels in enumerate((case.mean, *case.each)):
            inside = labels if region is None else np.where(region, labels, 0)
            row = self.scorers[place].case(inside, truth, spacing)
            self.rows[place].append({"case_id": case.case_id, **row})
        panels.add(_drawn(self.first, case, np.where(truth == IGNORED, 0, truth)), self.rows[0][-1])

    def _written(self, part: str) -> dict[str, Any]:
        metrics = [
            scorer.summarize([{k: v for k, v in row.items() if k != "case_id"} for row in rows])
            for scorer, rows in zip(self.scorers, self.rows, strict=True)
        ]
        names = [TOGETHER, *(member.name for member in self.among)]
        means = [{k: e["mean"] for k, e in entry.items() if isinstance(e, dict) and "mean" in e} for entry in metrics]
        listed = [{"run": name, "cases": len(self.rows[0]), **mean} for name, mean in zip(names, means, strict=True)]
        self.output.mkdir(parents=True, exist_ok=True)
        folder.write(self.output / folder.PER_CASE, pd.DataFrame(self.rows[0]).to_csv(index=False))
        folder.write(self.output / TABLE, pd.DataFrame(listed).to_csv(index=False))
        own = dict(zip(names[1:], metrics[1:], strict=True))
        return {"run": names[1:], "part": part, "cases": len(self.rows[0]), "metrics": metrics[0], "members": own}


def _plain(member: Member) -> Preparation:
    """What reads whole files, also where the member reads slices of them."""
    own = member.data.preparation
    dims = 3 if member.data.plane is not None else own.spatial_dims
    return Preparation(dims, own.file_channels, label_values=own.label_values, ignore=own.ignore)


def _drawn(member: Member, case: Case, truth: np.ndarray[Any, Any]) -> Outcome:
    """The case on its source grid, volumes turned to RAS."""
    plain = _plain(member)
    scan = read_image(case.record, spatial_dims=plain.spatial_dims, channels=plain.file_channels)
    grid = Grid(scan.array.shape[1:], scan.affine, scan.spacing)
    way = Way(grid, "RAS" if plain.spatial_dims == 3 else None)
    image, label, predicted = (
        np.ascontiguousarray(way.view(array)) for array in (scan.array, truth[None], case.mean[None])
    )
    prepared = Prepared(torch.from_numpy(image), torch.from_numpy(label), way.affine, grid)
    return Outcome(case.record, prepared, None, labels=case.mean, predicted=predicted[0])


def predict(runs: Sequence[Path], source: Path, output: Path, checkpoint: str = "best") -> Path:
    """As `medexp predict RUN` of one run, from the mean of the probabilities of several. Returns what was written. Raises
    UserError."""
    among = members(runs, checkpoint)
    first = among[0]
    found, cases = results(first.cfg, first.data), []
    for member in among:
        with one.advised(member.cfg, member.run, member.data):
            cases.append(expanded(member, one.timed(inputs(source, member.data, output), member.data)))
    wanted = list(cases[0])
    odd = next((member for member, each in zip(among, cases, strict=True) if set(each) != set(wanted)), None)
    if odd is not None:
        raise UserError(
            f"--input: {odd.name} finds other cases in {source} than {first.name}; name the images in one way"
        )
    records = [replace(cases[0][case][0], case_id=case, slice=None) for case in wanted]
    paths = found.outputs(records, output)
    into = next(iter(paths.values())).parent
    try:
        into.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--output: cannot write to {into} ({error.strerror}); give another folder") from None
    rows: list[dict[str, Any]] = []
    for case in together(among, cases, wanted, labelled=False):
        if isinstance(found, Tabular):
            rows.append({"case_id": case.case_id, **found.predicted(replace(case.first, scores=case.mean))})
            continue
        affine = header(case.record).affine
        save_image(case.mean, case.record.files[0], paths[case.case_id], np.asarray(affine))
        log.info("%s", paths[case.case_id])
    if rows:
        path = paths[rows[0]["case_id"]]
        folder.write(path, pd.DataFrame(rows).to_csv(index=False))
        return path
    return output
