"""`medexp compare RUN RUN ...`: a test score of many runs by what differs between them, over seeds: a table and a figure."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from medexp.errors import UserError, nearest
from medexp.metrics.intervals import mean_interval
from medexp.run import folder
from medexp.run.comparing import Comparison, Finished, Point, comparison, finished
from medexp.run.comparing_figure import curve
from medexp.run.figures import save
from medexp.run.report import print_comparison, shown

log = logging.getLogger(__name__)
TABLE, FIGURE = "compare.csv", "compare.png"
Row = dict[str, Any]


def compare(paths: Sequence[Path], by: str | None, metric: str | None, output: Path | None) -> list[Row]:
    """Rows of the table, also written with its figure into `output` (default: the folder that holds the runs).

    paths: run folders, or folders that hold some, such as a sweep's. by: the key whose values are compared along the axis;
    None: the one with most values, two of them numbers. metric: of the test split; None: the one that chose the checkpoints.
    Runs that differ in the seed alone are repetitions: their mean with its 95 % interval, and what they differ by, paired by
    seed, from the first line at the same value of `by`. Raises UserError.
    """
    runs = finished(paths)
    name = _metric(runs, metric)
    found = comparison(runs, by)
    rows = [_row(point, found, name) for point in found.points]
    into = output if output is not None else _home(runs)
    try:
        into.mkdir(parents=True, exist_ok=True)
        folder.write(into / TABLE, pd.DataFrame(rows).to_csv(index=False))
    except OSError as error:
        raise UserError(f"--output: {into} cannot be written ({error.strerror}); give another folder") from None
    save(curve(found, name), into / FIGURE)
    print_comparison(rows)
    log.info("%d runs: %s, %s", len(runs), shown(into / TABLE), shown(into / FIGURE))
    return rows


def _metric(runs: Sequence[Finished], wanted: str | None) -> str:
    """The name of a score that all runs have."""
    known = [name for name in runs[0].scores if all(name in run.scores for run in runs)]
    if wanted is None:
        chosen = runs[0].monitor.partition("/")[2]
        wanted = chosen if chosen in known or not known else known[0]
    if wanted not in known:
        hint = nearest(wanted, known) or ";"
        raise UserError(
            f"--metric: '{wanted}' is not a test score of every run{hint} all have: {', '.join(known) or 'none'}"
        )
    return wanted


def _home(runs: Sequence[Finished]) -> Path:
    parents = {run.path.absolute().parent for run in runs}
    if len(parents) > 1:
        raise UserError(
            "--output: the runs are in several folders; say where the table and the figure are to be written"
        )
    return parents.pop()


def _row(point: Point, among: Comparison, metric: str) -> Row:
    beside = among.beside(point)
    scores = point.values(metric)
    mean = dict(zip(("mean", "low", "high"), mean_interval(list(scores.values())), strict=True))
    row: Row = {
        "metric": metric,
        "choices": point.line,
        "key": among.by,
        "value": point.at,
        "seeds": len(scores),
        **mean,
    }
    row |= dict.fromkeys(("beside", "pairs", "difference", "difference_low", "difference_high"))
    if beside is None:
        return row
    others = beside.values(metric)
    apart = [scores[seed] - others[seed] for seed in scores if seed in others]
    row |= {"beside": beside.line if beside.line != point.line else f"{among.by}={beside.at}", "pairs": len(apart)}
    if apart:
        row |= dict(zip(("difference", "difference_low", "difference_high"), mean_interval(apart), strict=True))
    return row
