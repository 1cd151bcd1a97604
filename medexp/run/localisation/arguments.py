"""What `medexp localise` takes on the command line, and what it prints. Nothing heavy is imported before it runs."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

EXAMPLES = (
    "  medexp localise RUN\n  medexp localise RUN --method grad_cam_pp --layer layer3\n"
    "  medexp localise RUN --input scans/ --output maps/"
)


def add_localise(add: Callable[..., argparse.ArgumentParser]) -> None:
    """The verb, by what adds one: name, text, action, examples."""
    verb = add(
        "localise", "where a run's classifier sees its classes: maps, scored against masks or boxes", run, EXAMPLES
    )
    verb.add_argument("run", type=Path, metavar="RUN", help="run folder of a classification")
    verb.add_argument("--input", type=Path, metavar="PATH", help="new images: maps are drawn, nothing is scored")
    verb.add_argument("--output", type=Path, metavar="DIR", help="default RUN/localisation; needed with --input")
    said = "attention (default of networks of bags), grad_cam (default of others), grad_cam_pp, cam"
    verb.add_argument("--method", metavar="NAME", help=said)
    said = "module of the network that the map is of; default: the last one that all of the image goes through"
    verb.add_argument("--layer", nargs="+", default=[], metavar="NAME", help=said)
    said = "of maps, from which on they count as the class; default: the best on the validation split"
    verb.add_argument("--threshold", type=float, metavar="T", help=said)
    verb.add_argument("--checkpoint", choices=("best", "last"), default="best")


def run(args: argparse.Namespace) -> int:
    """The verb. Raises UserError."""
    from medexp.errors import UserError
    from medexp.run import folder, localise
    from medexp.run.quiet import quiet

    folder.log_to(None)
    if args.input is not None and args.output is None:
        raise UserError("--output: give a folder for the maps of --input")
    if args.threshold is not None and not 0 < args.threshold < 1:
        raise UserError(f"--threshold: {args.threshold} is not between 0 and 1")
    with quiet():
        if args.input is not None:
            localise.draw(args.run, args.input, args.output, args.method, args.layer, args.checkpoint)
        else:
            options = (args.output, args.method, args.layer, args.threshold, args.checkpoint)
            show(localise.localise(args.run, *options))
    return 0


def show(summary: dict[str, Any]) -> None:
    """The network beside what knows nothing, a row each, and how far it is above that. Of attention over slices the scores of
    slices alone."""
    from medexp.metrics.localisation import INSTANCES

    names = list(summary["metrics"])
    if summary["by_slice"] and any(name in names for name in INSTANCES):
        names = [name for name in names if name in INSTANCES]
    _means(summary, names)
    _gaps(summary, [name for name in names if name != "boxes"])


def _means(summary: dict[str, Any], names: list[str]) -> None:
    from rich.table import Table

    from medexp.run.report import number, show_table

    what = " of ".join([summary["method"], ", ".join(summary["layers"])][: 1 + bool(summary["layers"])])
    table = Table(title=f"{summary['part']}: {summary['cases']} maps, {what}", title_justify="left")
    table.add_column("map")
    for name in names:
        table.add_column(name, justify="right")
    for name, scores in {"network": summary["metrics"], **summary["chance"]}.items():
        if any(score in scores for score in names):
            table.add_row(name, *(number((scores.get(score) or {}).get("mean")) for score in names))
    show_table(table)


def _gaps(summary: dict[str, Any], names: list[str]) -> None:
    """By how much the network is above each, with 95 % intervals."""
    from rich.table import Table

    from medexp.run.report import show_note, show_table

    others = [name for name, gaps in summary["above_chance"].items() if any(score in gaps for score in names)]
    said = "attention is of whole slices: scores of voxels, which say little of it, are in summary.json alone"
    table = Table(title="the network above ... (mean difference, 95 % interval)", title_justify="left")
    for name in ("score", *others):
        table.add_column(name, justify="right" if name in others else "left")
    for score in names:
        gaps = [summary["above_chance"][other].get(score) for other in others]
        if any(gaps):
            table.add_row(score, *("-" if gap is None else _interval(gap) for gap in gaps))
    show_table(table)
    show_note(said if summary["by_slice"] else None)


def _interval(gap: dict[str, float]) -> str:
    return f"{gap['mean']:+.3f} ({gap['low']:+.3f} to {gap['high']:+.3f})"
