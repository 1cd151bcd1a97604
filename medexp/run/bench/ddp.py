"""`medexp bench ddp`: what two processes on the CPU gain over one, and that they learn the same."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medexp.config import compose
from medexp.performance import cores
from medexp.run.bench.tables import Row
from medexp.run.folder import write_json

RANKS, BATCH = 2, 8  # processes; patches a step over all of them
PATIENTS = 24  # of the phantom
WARM = 3  # steps that do not count: DDP puts its gradients into buckets in the first ones
PATIENCE = 600.0  # seconds


def run(rounds: int = 5, steps: int = 20) -> dict[str, Any]:
    """The same training, global batch and order of cases by one process with half of the threads, and by two of them.

    Ideal is twice the samples a second of that one process: {"samples_a_second": {"1": .., "2": ..}, "share_of_ideal":
    median over the rounds, "spread": [least, most], "threads": of a process, "parity": see `parity`}.
    """
    threads = max(1, cores() // RANKS)
    rates: dict[int, list[float]] = {1: [], RANKS: []}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            trained = {ranks: train(Path(folder), ranks, threads, steps) for ranks in rates}
            for ranks, found in trained.items():
                rates[ranks].append(BATCH / statistics.median(found["seconds"][WARM:]))
    shares = [two / one / RANKS for one, two in zip(rates[1], rates[RANKS], strict=True)]
    return {
        "steps": steps,
        "batch": BATCH,
        "threads": threads,
        "samples_a_second": {str(ranks): statistics.median(each) for ranks, each in rates.items()},
        "share_of_ideal": statistics.median(shares),
        "spread": [min(shares), max(shares)],
        "parity": parity(trained[1]["losses"], trained[RANKS]["losses"]),
    }


def parity(one: list[float], two: list[float]) -> dict[str, float]:
    """How far the losses of two trainings are apart, at most, and the losses where they end."""
    differences = [abs(a - b) for a, b in zip(one, two, strict=True)]
    return {"largest_difference": max(differences), "last_one": one[-1], "last_two": two[-1]}


def train(folder: Path, ranks: int, threads: int, steps: int) -> dict[str, list[float]]:
    """Seconds and loss (mean over ranks) of each step, in processes of their own. Raises RuntimeError where they fail."""
    place = folder / f"{ranks}_ranks"
    (place / "run").mkdir(parents=True, exist_ok=True)
    write_json(place / "config.json", config(folder, ranks, steps))
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    words = [sys.executable, "-m", "medexp.run.bench.rank", str(place)]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=PATIENCE, check=False)
    if done.returncode:
        raise RuntimeError(f"{ranks} processes: exit code {done.returncode}: {done.stderr[-2000:]}")
    found = [json.loads((place / f"rank{rank}.json").read_text()) for rank in range(ranks)]
    losses = [statistics.fmean(each) for each in zip(*(one["losses"] for one in found), strict=True)]
    return {"seconds": found[0]["seconds"], "losses": losses}


def config(folder: Path, ranks: int, steps: int) -> dict[str, Any]:
    """Of a training in fp32 that nothing interrupts.

    The loss is a mean over samples, as it must be for the mean over ranks to be that over the batch: the Dice of the whole
    batch (`loss.batch=true`) is another number on its parts. The optimizer is SGD: Adam divides a gradient by its size, so
    that where it is next to nothing the last bits, in which sums over ranks differ, decide about whole steps.
    """
    cpu = ["trainer=cpu"] if ranks == 1 else ["trainer=ddp", "trainer.accelerator=cpu", f"trainer.devices={ranks}"]
    words = [
        *(
            "experiment=segmentation/phantom",
            f"dataset.root={folder / 'phantom'}",
            f"dataset.source.patients={PATIENTS}",
        ),
        *(f"dataset.store={folder / 'store'}", f"dataset.batch_size={BATCH // ranks}", "loss.batch=false"),
        *(*cpu, "trainer.precision=32-true", f"trainer.max_steps={steps}", "trainer.max_epochs=-1"),
        *("trainer.limit_val_batches=0", "trainer.enable_checkpointing=false", "optimizer=sgd", "scheduler=constant"),
        *(
            "callbacks.checkpoint=null",
            "callbacks.bar=null",
            "logger=null",
            f"run_dir={folder / f'{ranks}_ranks' / 'run'}",
        ),
    ]
    return compose.resolve(compose.compose(words))


def rows(result: Mapping[str, Any]) -> list[Row]:
    """The table's lines."""
    rates, part = result["samples_a_second"], result["parity"]
    one = f"{rates['1']:.2f} ({result['threads']} thread{'s' if result['threads'] > 1 else ''}, 1 process)"
    least, most = result["spread"]
    share = f"{result['share_of_ideal']:.2f} of ideal ({least:.2f} to {most:.2f})"
    what = f"losses of {result['steps']} steps at batch {result['batch']}"
    return [
        ("samples/s, 2 processes", f"{rates[str(RANKS)]:.2f}", one, share),
        (
            what,
            f"{part['last_two']:.6f}",
            f"{part['last_one']:.6f} (1 process)",
            f"{part['largest_difference']:.1e} apart",
        ),
    ]
