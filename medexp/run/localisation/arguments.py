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
    """The network beside what knows nothing, a row each."""
    from rich.table import Table

    from medexp.run.report import number, show_table

    what = " of ".join([summary["method"], ", ".join(summary["layers"])][: 1 + bool(summary["layers"])])
    table = Table(title=f"{summary['part']}: {summary['cases']} maps, {what}", title_justify="left")
    table.add_column("map")
    for name in summary["metrics"]:
        table.add_column(name, justify="right")
    for name, scores in {"network": summary["metrics"], **summary["chance"]}.items():
        table.add_row(name, *(number((scores.get(score) or {}).get("mean")) for score in summary["metrics"]))
    show_table(table)
