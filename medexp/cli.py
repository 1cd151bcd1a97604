"""The `medexp` command: words in, exit code out. Nothing heavy is imported until a verb is chosen."""

from __future__ import annotations

import argparse
import os
import re
import sys
import traceback
from collections.abc import Callable
from typing import Any

from medexp import __version__
from medexp.errors import UserError, nearest
from medexp.verbs import add_verbs

QUICK = ("list", "fetch", "cache", "completion")  # verbs that need no torch


class _Parser(argparse.ArgumentParser):
    """argparse, with a near match for a mistyped word, and words of one list on both sides of an option."""

    def error(self, message: str) -> Any:
        if found := re.search(r"argument ([^:]+): invalid choice: '(.*)' \(choose from (.*)\)", message):
            place, typed, allowed = found.groups()
            names = re.findall(r"[\w-]+", allowed)
            what = "no verb" if place == "VERB" else f"{place}: no choice"
            message = f"{what} '{typed}'{nearest(typed, names) or ';'} choices: {', '.join(names)}"
        print(f"medexp: {message} ({self.prog} --help)", file=sys.stderr)
        raise SystemExit(2)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        parsed, rest = super().parse_known_args(args, namespace)
        for name in (
            "overrides",
            "groups",
            "names",
        ):  # `train seed=1 -m model=unet,dynunet`: argparse stops the list at -m
            if hasattr(parsed, name) and not any(word.startswith("-") for word in rest):
                getattr(parsed, name).extend(rest)
                rest = []
        return parsed, rest


def parser() -> argparse.ArgumentParser:
    built = _Parser(prog="medexp", description="Config-driven experiments for medical imaging with deep learning.")
    built.add_argument("--version", action="version", version=f"medexp {__version__}")
    add_verbs(built)
    return built


def guarded(action: Callable[[], Any]) -> int:
    """Runs an action; mistakes of the user end in one line and 2, faults of the run in one line and 1."""
    try:
        outcome = action()
        return outcome if isinstance(outcome, int) else 0
    except UserError as error:
        print(f"medexp: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("medexp: interrupted; go on with `medexp train resume=RUN`", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader (head, less) had enough
        return 0
    except Exception as error:
        if type(error).__name__ == "RunFault":
            print(f"medexp: {error}", file=sys.stderr)
        else:
            traceback.print_exc()
        return 1


def announce(verb: str) -> None:
    """Says to somebody at a terminal that the command is under way, before the seconds in which libraries are loaded."""
    if verb not in QUICK and sys.stderr.isatty():
        print(f"medexp {verb}: loading libraries", file=sys.stderr, flush=True)


def act(args: argparse.Namespace) -> int:
    """The verb's action. A folder that is no run is said before the seconds in which libraries are loaded."""
    given = getattr(args, "run", [])
    if given:
        from medexp.run import folder

        for run in given if isinstance(given, list) else [given]:
            folder.load(run)
    outcome: int = args.action(args)
    return outcome


def main(argv: list[str] | None = None) -> int:
    """Entry point. Returns 0 done, 1 a fault of the run, 2 a mistake of the user."""
    words = sys.argv[1:] if argv is None else argv
    if words[:1] == ["_complete"]:
        from medexp.run.completion import candidates

        print("\n".join(candidates(words[1:])))
        return 0
    args = parser().parse_args(words)
    if args.verb is None:
        parser().print_help()
        return 0
    announce(args.verb)
    return guarded(lambda: act(args))
