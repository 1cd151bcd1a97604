"""Arguments of verbs that take many. Nothing heavy is imported here: `medexp --help` asks for it."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path


def add_evaluate(parser: argparse.ArgumentParser, several: str) -> None:
    parser.add_argument("run", type=Path, nargs="+", metavar="RUN", help=several)
    parser.add_argument(
        "--data",
        metavar="ROOT",
        help="another folder of the same format: all of its labelled cases; those seen in training are counted",
    )
    parser.add_argument("--output", type=Path, metavar="DIR", help="where to write per_case.csv and summary.json")
    parser.add_argument(
        "--without",
        nargs="+",
        default=[],
        metavar="CHANNEL",
        help="once more without this modality (a number from 0, or its name; each: every one in turn): what is lost",
    )
    parser.add_argument("--checkpoint", choices=("best", "last"), default="best")


def add_cache(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "action_name",
        nargs="?",
        choices=("list", "verify", "prune"),
        default="list",
        metavar="ACTION",
        help="list (default), verify: read every entry to its end, prune: remove damaged, outdated and half-written ones",
    )
    parser.add_argument("--older-than", type=float, metavar="DAYS", help="prune also what was not used for so long")
    parser.add_argument("--all", action="store_true", help="prune everything")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="another store (dataset.store)")


def _generate(args: argparse.Namespace) -> int:
    from medexp.run import folder
    from medexp.run.generate import generate
    from medexp.run.quiet import quiet

    folder.log_to(None)
    with quiet():
        generate(args.run, args.count, args.output, args.seed, args.class_name, args.checkpoint)  # says where they are
    return 0


def add_generate(add: Callable[..., argparse.ArgumentParser]) -> None:
    parser = add(
        *("generate", "samples of a generative run: image files, and samples.csv that lists them", _generate),
        "  medexp generate RUN --count 64 --output samples\n  medexp generate RUN --count 20 --class Hand --output hands",
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder of a generative task, e.g. task=diffusion")
    parser.add_argument(
        "--count", type=int, required=True, metavar="N", help="samples 0 to N - 1; those there are kept"
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="a new folder, or one to go on with")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="sample i depends on it and on i alone")
    parser.add_argument("--class", dest="class_name", metavar="NAME", help="all of one class; default: each in turn")
    parser.add_argument("--checkpoint", choices=("best", "last"), default="best")


def _compare(args: argparse.Namespace) -> int:
    from medexp.run import folder
    from medexp.run.compare import compare

    folder.log_to(None)
    compare(args.runs, args.by, args.metric, args.output)
    return 0


def add_compare(add: Callable[..., argparse.ArgumentParser]) -> None:
    parser = add(
        *(
            "compare",
            "runs side by side by what differs between them: means over seeds, paired differences, a figure",
            _compare,
        ),
        "  medexp compare outputs/default/2026-11-23_10-00-00_sweep\n"
        "  medexp compare outputs/few/* --by dataset.split.limit_train --metric dice --output few",
    )
    parser.add_argument(
        "runs", type=Path, nargs="+", metavar="RUN", help="run folder, or a folder of some, e.g. a sweep's"
    )
    parser.add_argument(
        "--by", metavar="KEY", help="along the axis (default: the key with most values, two of them numbers)"
    )
    parser.add_argument(
        "--metric", metavar="NAME", help="of the test split (default: the one that chose the checkpoints)"
    )
    said = "where compare.csv and compare.png are written (default: the folder that holds the runs)"
    parser.add_argument("--output", type=Path, metavar="DIR", help=said)
