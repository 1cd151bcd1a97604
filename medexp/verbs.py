"""The table of verbs: what each is called, takes and does. Nothing heavy is imported until one is chosen."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

OVERRIDES = "overrides, e.g. experiment=segmentation/hippocampus model=dynunet optimizer.lr=1e-3 (see `medexp list`)"
SEVERAL = "run folder; of several (folds, seeds, networks, planes of slices) the mean of the probabilities is taken"


def _train(args: argparse.Namespace) -> int:
    if args.multirun:
        from medexp.run.sweep import sweep

        return sweep(args.overrides)
    from medexp.run.report import print_run
    from medexp.run.train import start

    print_run(start(args.overrides))
    return 0


@contextmanager
def _speaking() -> Iterator[None]:
    """Within, medexp's log lines go to the terminal, and what libraries say does not."""
    from medexp.run import folder
    from medexp.run.quiet import quiet

    folder.log_to(None)
    with quiet():
        yield


def _evaluate(args: argparse.Namespace) -> int:
    from medexp.run.consensus import evaluated
    from medexp.run.report import print_summary

    with _speaking():
        print_summary(evaluated(args.run, args.data, args.output, args.checkpoint, args.without))
    return 0


def _predict(args: argparse.Namespace) -> int:
    from medexp.run.consensus import predicted

    with _speaking():
        written = predicted(args.run, args.input, args.output, args.checkpoint)
    print(f"predictions: {written}")
    return 0


def _export(args: argparse.Namespace) -> int:
    from medexp.run.export import export

    with _speaking():
        print(f"release: {export(args.run, args.output, args.checkpoint)}")
    return 0


def _check(args: argparse.Namespace) -> int:
    from medexp.run.check import check

    return check(args.overrides, args.exclude_bad, args.report)


def _plan(args: argparse.Namespace) -> int:
    from medexp.run import folder
    from medexp.run.plan import plan

    folder.log_to(None)
    return plan(args.overrides, args.memory, args.output, args.force)


def _fetch(args: argparse.Namespace) -> int:
    from medexp.run.fetch import fetch

    return fetch(args.names, args.root, args.keep)


def _cache(args: argparse.Namespace) -> int:
    from medexp.run.cache import cache

    return cache(args.action_name, args.older_than, args.all, args.folder)


def _bench(args: argparse.Namespace) -> int:
    from medexp.run.bench import bench

    known = ("verb", "action", "part", "json")
    return bench(args.part, {key: value for key, value in vars(args).items() if key not in known}, args.json)


def _list(args: argparse.Namespace) -> int:
    from medexp.run.listing import show

    print(show(args.groups, as_json=args.json))
    return 0


def _completion(args: argparse.Namespace) -> int:
    from medexp.run.completion import script

    print(script(args.shell))
    return 0


def add_verbs(parser: argparse.ArgumentParser) -> None:
    """Adds every verb with its arguments, examples and action."""
    from medexp.run.arguments import add_cache, add_compare, add_evaluate, add_generate
    from medexp.run.bench.arguments import add_parts
    from medexp.run.localisation.arguments import add_localise

    verbs = parser.add_subparsers(dest="verb", metavar="VERB")

    def add(
        name: str, text: str, action: Callable[[argparse.Namespace], int], examples: str
    ) -> argparse.ArgumentParser:
        raw = argparse.RawDescriptionHelpFormatter
        verb = verbs.add_parser(name, help=text, description=text, epilog=f"examples:\n{examples}", formatter_class=raw)
        verb.set_defaults(action=action)
        return verb

    train = add(
        *("train", "train, evaluate and write a run folder; -m for a sweep over all combinations", _train),
        "  medexp train\n  medexp train experiment=segmentation/hippocampus\n  medexp train model=dynunet optimizer.lr=3e-4 seed=1\n"
        "  medexp train resume=outputs/phantom/2026-11-23_10-00-00 trainer.max_epochs=60\n"
        "  medexp train -m model=unet,dynunet optimizer=adamw,sgd\n  medexp train debug=fast",
    )
    train.add_argument("-m", "--multirun", action="store_true", help="run every combination of comma-separated values")
    train.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help=OVERRIDES)

    evaluate = add(
        *("evaluate", "a run's model on its test split, or on other labelled data", _evaluate),
        "  medexp evaluate RUN\n  medexp evaluate RUN --data /data/other_hospital --output results\n"
        "  medexp evaluate RUN --without each\n  medexp evaluate AXIAL CORONAL SAGITTAL",
    )
    add_evaluate(evaluate, SEVERAL)

    predict = add(
        *("predict", "a run's model on new images", _predict),
        "  medexp predict RUN --input scan.nii.gz --output mask.nii.gz\n  medexp predict RUN --input scans/ --output masks/\n"
        "  medexp predict RUN --input patients/ --output masks/",
    )
    predict.add_argument("run", type=Path, nargs="+", metavar="RUN", help=SEVERAL)
    predict.add_argument(
        "--input",
        type=Path,
        required=True,
        metavar="PATH",
        help="an image or 4D scan, a DICOM series, or a folder: laid out as in training, or images in it or in folders below "
        "(CASE_0000, CASE_0001 ... are one case)",
    )
    said = "a folder, or a file for one case (every time point of a 4D scan is one)"
    predict.add_argument("--output", type=Path, required=True, metavar="PATH", help=said)
    predict.add_argument("--checkpoint", choices=("best", "last"), default="best")
    add_localise(add)
    add_generate(add)
    add_compare(add)
    exported = add(
        *("export", "a run's weights as a folder to give away: safetensors, and what predict needs", _export),
        "  medexp export RUN --output hippocampus\n  medexp export RUN --output hippocampus_last --checkpoint last",
    )
    exported.add_argument("run", type=Path, metavar="RUN", help="run folder")
    exported.add_argument("--output", type=Path, required=True, metavar="DIR", help="a new folder")
    exported.add_argument("--checkpoint", choices=("best", "last"), default="best")

    checked = add(
        *("check", "compose, hold every key against its signature, read every case of the data set", _check),
        "  medexp check experiment=segmentation/hippocampus\n  medexp check dataset=msd dataset.root=/data/Task01 ...\n"
        "  medexp check dataset=liver --exclude-bad liver_excluded.txt",
    )
    checked.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help=OVERRIDES)
    checked.add_argument(
        "--exclude-bad",
        type=Path,
        nargs="?",
        const=Path("excluded.txt"),
        metavar="FILE",
        help="write the cases with errors into FILE (default excluded.txt), for dataset.exclude=FILE",
    )
    checked.add_argument(
        "--report", type=Path, metavar="FILE", help="JSON with all that is found (default: in the cache)"
    )

    planned = add(
        *("plan", "fingerprint a data set and propose spacing, patch size, network ... as a leaf to edit", _plan),
        "  medexp plan dataset=msd_spleen\n  medexp plan dataset=liver --memory 24 --output conf/plan/liver_24.yaml",
    )
    planned.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help=OVERRIDES)
    planned.add_argument("--memory", type=float, default=8.0, metavar="GIB", help="of the GPU (default 8)")
    planned.add_argument("--output", type=Path, metavar="FILE", help="default conf/plan/<data set>.yaml")
    planned.add_argument("--force", action="store_true", help="overwrite it")

    fetched = add(
        *("fetch", "download named data sets, or say how to get them; without a name: what there is", _fetch),
        "  medexp fetch\n  medexp fetch msd_spleen\n  medexp fetch medmnist/pathmnist --root /data/pathmnist.npz",
    )
    fetched.add_argument("names", nargs="*", metavar="NAME", help="of conf/dataset")
    fetched.add_argument("--root", metavar="DIR", help="instead of the leaf's own dataset.root")
    fetched.add_argument("--keep", action="store_true", help="keep the archives beside the data")

    cached = add(
        *("cache", "the store of prepared cases: list it, verify it, prune it", _cache),
        "  medexp cache\n  medexp cache verify\n  medexp cache prune --older-than 30",
    )
    add_cache(cached)

    timed = add(
        *("bench", "medexp beside the plain use of PyTorch, Lightning and MONAI on this machine", _bench),
        "  medexp bench all\n  medexp bench step --model dynunet --rounds 5\n  medexp bench data --workers 2 --json trend.jsonl",
    )
    add_parts(timed)

    listed = add(
        *("list", "what there is to choose from, with a line each", _list),
        "  medexp list\n  medexp list model loss\n  medexp list experiment --json",
    )
    listed.add_argument("groups", nargs="*", metavar="GROUP", help="config groups; all where none is given")
    listed.add_argument("--json", action="store_true", help="names and lines as JSON")

    shell = add(
        *("completion", "a script that completes verbs, groups and options in your shell", _completion),
        '  eval "$(medexp completion bash)"\n  medexp completion zsh > ~/.zfunc/_medexp\n  medexp completion fish | source',
    )
    shell.add_argument("shell", choices=("bash", "zsh", "fish"))
