"""`medexp bench start`: how soon the command answers, and how soon it trains beside importing what it stands on."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from medexp.run.bench.rounds import interleaved
from medexp.run.bench.tables import Row

LIBRARIES = "import torch, pytorch_lightning, monai"  # what every training stands on; Hydra is counted as medexp's
MEDEXP = [sys.executable, "-m", "medexp"]
EXPERIMENT = "segmentation/phantom"
SHOWN = 8  # packages


class FirstStep(pl.Callback):
    """Ends the process where the first training step begins: the benchmark asks for the time up to there."""

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        os._exit(0)


def run(rounds: int = 5, experiment: str = EXPERIMENT) -> dict[str, Any]:
    """Seconds from a command to its end, or to its first training step; of processes of their own, interleaved.

    {"seconds": {what: median}, "rounds": {what: Timing}, "ratio": first step over importing LIBRARIES, "imports":
    {package: seconds of its own modules} of all that is imported up to the first step}. The data set is prepared
    beforehand, as it is from a user's second run on.
    """
    with tempfile.TemporaryDirectory() as folder:
        words = training(Path(folder), experiment)
        commands = {
            "python alone": [sys.executable, "-c", "pass"],
            "--help": [*MEDEXP, "--help"],
            "completion": [*MEDEXP, "_complete", "train", "model="],
            "libraries": [sys.executable, "-c", LIBRARIES],
            "first step": [*MEDEXP, *words],
        }
        timings = interleaved({name: process(command, folder) for name, command in commands.items()}, rounds)
        told = [sys.executable, "-X", "importtime", "-m", "medexp", *words]
        imports = seconds_by_package(
            subprocess.run(told, cwd=folder, capture_output=True, text=True, check=True).stderr
        )
    seconds = {name: timing.median for name, timing in timings.items()}
    return {
        "experiment": experiment,
        "seconds": seconds,
        "rounds": {name: timing.as_json() for name, timing in timings.items()},
        "ratio": seconds["first step"] / seconds["libraries"],
        "imports": imports,
    }


def training(folder: Path, experiment: str) -> list[str]:
    """The command's words: this experiment up to its first step, its data and store below `folder`."""
    return [
        *("train", f"experiment={experiment}", f"cache_dir={folder / 'cache'}"),
        f"callbacks.first_step._target_={FirstStep.__module__}.{FirstStep.__name__}",
    ]


def process(words: Sequence[str], folder: str) -> Callable[[], None]:
    """Runs a command in this folder to its end. Raises CalledProcessError where it fails."""

    def call() -> None:
        subprocess.run(words, cwd=folder, capture_output=True, check=True)

    return call


def seconds_by_package(said: str) -> dict[str, float]:
    """What `python -X importtime` said, by package: seconds of its own modules, the longest first."""
    spent: Counter[str] = Counter()
    for line in said.splitlines():
        if line.startswith("import time:") and line.split("|")[0].split()[-1].isdigit():
            own, _, name = line.removeprefix("import time:").split("|")
            spent[name.strip().split(".")[0]] += int(own)
    return {name: round(microseconds / 1e6, 3) for name, microseconds in spent.most_common()}


def rows(result: dict[str, Any]) -> list[Row]:
    """The table's lines."""
    seconds, each = result["seconds"], result["rounds"]

    def shown(name: str) -> str:
        return f"{seconds[name]:.2f} s ({each[name]['min_s']:.2f} to {each[name]['max_s']:.2f})"

    alone = f"{seconds['python alone']:.2f} s (python alone)"
    beside = f"{shown('libraries')} (torch, Lightning, MONAI)"
    return [
        ("medexp --help", shown("--help"), alone, f"{seconds['--help'] / seconds['python alone']:.1f}x"),
        ("completion", shown("completion"), alone, f"{seconds['completion'] / seconds['python alone']:.1f}x"),
        (f"command to first step, {result['experiment']}", shown("first step"), beside, f"{result['ratio']:.2f}x"),
    ]


def details(result: dict[str, Any]) -> tuple[str, list[tuple[str, str, str]], tuple[str, str, str]]:
    """Table of the packages that take longest."""
    spent = result["imports"]
    total = sum(spent.values())
    found = [(name, f"{seconds:.2f} s", f"{seconds / total:.0%}") for name, seconds in list(spent.items())[:SHOWN]]
    return "imported up to the first step", found, ("package", "its own modules", "share")
