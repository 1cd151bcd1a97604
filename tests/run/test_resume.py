from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from compared import same
from forks import Command

from medexp.errors import UserError
from medexp.run import folder
from medexp.run.train import start


def metrics(run: Path) -> pd.DataFrame:
    return pd.read_csv(run / "metrics.csv").groupby("epoch").first()


def weights(run: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(run / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    return state


def same_weights(one: Path, other: Path) -> None:
    left, right = weights(one), weights(other)
    assert left.keys() == right.keys()
    for name, value in left.items():
        torch.testing.assert_close(value, right[name], atol=1e-6, rtol=0)


@pytest.fixture(scope="module")
def unbroken(tiny: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "unbroken"
    start([*tiny, "scheduler=constant", "model.dropout=0.2", "trainer.max_epochs=4", f"run_dir={run}"])
    return run


@pytest.fixture(scope="module")
def half(tiny: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "half"
    start([*tiny, "scheduler=constant", "model.dropout=0.2", f"run_dir={run}"])
    return run


def test_a_resumed_run_is_the_unbroken_one(unbroken: Path, half: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(half, tmp_path / "run"))  # as if moved: nothing may point to where it was
    result = start([f"resume={run}", "trainer.max_epochs=4"])
    same_weights(run, unbroken)
    assert (run / "metrics.csv").read_text() == (unbroken / "metrics.csv").read_text()
    assert (run / "per_case.csv").read_text() == (unbroken / "per_case.csv").read_text()
    assert result["value"] == pytest.approx(metrics(unbroken)["val/dice"].max(), abs=1e-6)


def test_a_resumed_run_keeps_its_best_though_it_gets_no_better(half: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(half, tmp_path / "run"))
    best = metrics(run)["val/dice"].max()
    checkpoint = torch.load(run / "checkpoints/best.ckpt", weights_only=True)["epoch"]
    result = start([f"resume={run}", "trainer.max_epochs=3", "optimizer.lr=1e-9", "seed=3"])
    after = metrics(run)["val/dice"]
    expected = checkpoint if after[2] <= best else 2
    assert result["value"] == pytest.approx(after.max(), abs=1e-6)
    assert torch.load(run / "checkpoints/best.ckpt", weights_only=True)["epoch"] == expected


def test_the_rate_of_a_resumed_run_follows_the_curve_of_the_new_length(tiny: list[str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    start([*tiny, f"run_dir={run}"])
    start([f"resume={run}", "trainer.max_epochs=4"])
    rate = metrics(run)["lr"]
    assert rate[:2].tolist() == pytest.approx([1e-3, 5e-4])
    assert rate[2:].tolist() == pytest.approx([5e-4, 1e-3 * (1 - 2**-0.5) / 2], rel=1e-5)  # cosine over 4: 2/4, 3/4


def test_rows_of_an_epoch_that_was_not_finished_do_not_stand_twice(half: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(half, tmp_path / "run"))
    with (run / "metrics.csv").open("a") as file:
        file.write("2,0.001,2,9.0,,\n")  # logged after the last checkpoint
    start([f"resume={run}", "trainer.max_epochs=3"])
    table = pd.read_csv(run / "metrics.csv")
    assert (table["epoch"] == 2).sum() == 2  # one row of training, one of validation
    assert table["train/loss"].max() < 9


def test_the_split_of_a_resumed_run_is_the_one_that_it_was_trained_on(half: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(half, tmp_path / "run"))
    before = (run / "split.json").read_text()
    start([f"resume={run}", "trainer.max_epochs=3", "dataset.split.test=0.5"])
    assert (run / "split.json").read_text() == before


@pytest.mark.parametrize(
    ("overrides", "seen"),
    [
        (["trainer.max_epoch=4"], "trainer.max_epoch"),
        (["modle.channels=[4]"], "modle.channels"),
        (["trainer.max_epochs=many"], "trainer.max_epochs"),
    ],
)
def test_resuming_with_a_key_that_the_run_has_not_is_refused(overrides: list[str], seen: str, half: Path) -> None:
    before = (half / "config.yaml").read_text()
    with pytest.raises(UserError, match=seen):
        start([f"resume={half}", *overrides])
    assert (half / "config.yaml").read_text() == before


def test_resuming_what_is_no_run_or_has_no_checkpoint_is_said(half: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such run folder"):
        start([f"resume={tmp_path / 'nothing'}"])
    run = Path(shutil.copytree(half, tmp_path / "run"))
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(UserError, match=r"last.ckpt"):
        start([f"resume={run}"])


def written(run: Path) -> int:
    path = run / folder.LAST
    return path.stat().st_mtime_ns if path.is_file() else 0


def signalled(words: list[str], run: Path, signum: int) -> tuple[int, list[str], str]:
    """Exit code, lines of the error stream and output of a real `medexp train WORDS` that gets a signal in its training."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "medexp", "train", *words]
    pipe: Any = subprocess.PIPE
    before = written(run)
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment) as job:
        while written(run) == before and job.poll() is None:
            time.sleep(0.005)
        job.send_signal(signum)
        out, err = job.communicate(timeout=60)
    return job.returncode, err.strip().splitlines(), out


def test_real_commands_that_are_killed_or_asked_to_stop_go_on_bit_by_bit(tiny: list[str], tmp_path: Path) -> None:
    steps = ["dataset.batch_size=2", "callbacks.checkpoint.every_n_train_steps=1", "trainer.max_epochs=15"]
    words, run = [*tiny, *steps, "model.dropout=0.2"], tmp_path / "run"
    assert signalled([*words, f"run_dir={run}"], run, signal.SIGKILL)[:2] == (-signal.SIGKILL, [])
    for signum, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        ended, said, out = signalled([f"resume={run}"], run, signum)
        go_on = f"stopped by {signum.name}; go on with: medexp train resume={run}"
        assert (ended, said) == (code, [f"medexp: {go_on}"])
        assert go_on not in out  # said once
        assert (run / "train.log").read_text().rstrip().endswith(go_on)
    start([f"resume={run}"])
    start([*words, f"run_dir={tmp_path / 'unbroken'}"])
    same(run, tmp_path / "unbroken")


def test_ctrl_c_in_a_sweep_is_in_its_table(tiny: list[str], tmp_path: Path) -> None:
    options = ["-m", *tiny, "trainer.max_epochs=9999", "optimizer.lr=0.001,0.0001", f"run_dir={tmp_path / 'sweep'}"]
    first = tmp_path / "sweep/000_optimizer.lr=0.001"
    command = Command("train", *options)
    while not written(first) and command.running():
        time.sleep(0.005)
    os.kill(command.process.pid, signal.SIGINT)
    done = command.done()
    assert done.returncode == 130
    assert "Traceback" not in done.stderr
    table = pd.read_csv(tmp_path / "sweep/sweep.csv")
    assert table["state"].tolist() == ["interrupted", "waiting"]
    assert f"resume={first}" in table["reason"][0]


def test_a_refused_resume_leaves_the_config_as_it_was(trained: dict[str, Any]) -> None:
    run = Path(trained["run_dir"])
    before = (run / "config.yaml").read_bytes()
    refusals = {
        "model.channels=[4,16]": "holds another network",
        "trainer.max_epochs=1": "has done 2; give a larger number",
        "optimizer=sgd": "a group cannot be exchanged",
        "init.weights=elsewhere": "goes on from weights of its own",
        "run_dir=elsewhere": "stays in its folder",
    }
    for override, reason in refusals.items():
        with pytest.raises(UserError, match=reason):
            start([f"resume={run}", override])
    assert (run / "config.yaml").read_bytes() == before


def test_two_processes_do_not_write_to_one_run(trained: dict[str, Any]) -> None:
    with folder.lock(Path(trained["run_dir"])), pytest.raises(UserError, match="going on in another process"):
        start([f"resume={trained['run_dir']}"])
