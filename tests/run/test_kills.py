"""Training that is killed at random moments, over and over, and ends as if nothing had been."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest
from compared import same
from forks import Command, warm

from medexp.errors import UserError
from medexp.run import folder

EVERY_STEP = ["callbacks.checkpoint.every_n_train_steps=1", "model.dropout=0.2", "trainer.max_epochs=6"]
RANKS = {
    1: ["dataset.batch_size=2"],
    2: ["dataset.batch_size=1", "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"],
}  # 4 steps an epoch
KILLS = 5  # of each kind of run: 20


def written(run: Path) -> int:
    """When last.ckpt was written; 0: there is none."""
    path = run / folder.LAST
    return path.stat().st_mtime_ns if path.is_file() else 0


def wait_for_writes(command: Command, run: Path, count: int) -> None:
    """Until last.ckpt was written `count` times, or the command has ended."""
    seen = written(run)
    while count and command.running():
        if written(run) != seen:
            seen, count = written(run), count - 1
        time.sleep(0.001)


def wait_until_free(run: Path) -> None:
    """A killed process leaves a moment later than it is seen to; so do ranks that write their last step."""
    for _ in range(600):
        try:
            with folder.lock(run):
                return
        except UserError:
            time.sleep(0.05)
    raise TimeoutError(f"{run} is still held")


def kill(command: Command, ranks: int, chance: random.Random) -> None:
    """The command; of several ranks also the first, or all at once."""
    processes = command.processes()
    whom = chance.choice([processes[:1], processes[1:2], processes]) if ranks > 1 else processes[:1]
    for process in whom or processes:
        with suppress(ProcessLookupError):  # it went with another
            os.kill(process, signal.SIGKILL)


@pytest.mark.parametrize(("workers", "ranks"), [(0, 1), (2, 1), (0, 2), (2, 2)])
def test_sigkill_at_random_moments_changes_no_bit(workers: int, ranks: int, tiny: list[str], tmp_path: Path) -> None:
    chance = random.Random(10 * ranks + workers)
    words = ["train", *tiny, *EVERY_STEP, *RANKS[ranks], f"dataset.num_workers={workers}"]
    unbroken, run = tmp_path / "unbroken", tmp_path / "run"
    assert warm(*words, f"run_dir={unbroken}").returncode == 0
    kills = 0
    while kills < KILLS:
        command = Command(*([words[0], f"resume={run}"] if run.exists() else [*words, f"run_dir={run}"]))
        steps = chance.randint(0, 4)
        wait_for_writes(command, run, steps)
        time.sleep(chance.uniform(0, 0.05 if steps else 0.6))
        kill(command, ranks, chance)
        done = command.done()
        kills += done.returncode != 0
        assert done.returncode in (0, 1, -signal.SIGKILL), done.stderr
        if run.exists():
            wait_until_free(run)
        if done.returncode == 0:  # it was faster
            same(run, unbroken)
        if done.returncode == 0 or not any((run / "checkpoints").glob("*.ckpt")):  # nothing to go on from
            shutil.rmtree(run, ignore_errors=True)
    done = warm("train", *([f"resume={run}"] if run.exists() else [*words[1:], f"run_dir={run}"]))
    assert (done.returncode, done.stderr) == (0, "")
    same(run, unbroken)
