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


def interrupted(words: list[str], ready: Path) -> tuple[int, str, str]:
    """Exit code and output of `medexp words` that gets Ctrl-C once the file `ready` is there."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "medexp", *words]
    pipe: Any = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment) as job:
        for _ in range(600):
            if ready.is_file() or job.poll() is not None:
                break
            time.sleep(0.1)
        time.sleep(0.3)
        job.send_signal(signal.SIGINT)
        out, err = job.communicate(timeout=60)
    return job.returncode, out, err


def test_ctrl_c_says_how_to_go_on_and_that_works(unbroken: Path, tiny: list[str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    options = ["scheduler=constant", "model.dropout=0.2", "trainer.max_epochs=9999", f"run_dir={run}"]
    code, out, err = interrupted(["train", *tiny, *options], run / "checkpoints/last.ckpt")
    assert code == 130
    assert f"medexp train resume={run}" in out
    assert "Traceback" not in err
    assert len(err.strip().splitlines()) == 1
    done = torch.load(run / "checkpoints/last.ckpt", weights_only=True)["epoch"] + 1
    assert done >= 1
    start([f"resume={run}", f"trainer.max_epochs={done + 2}"])
    table = metrics(run)
    assert list(table.index) == list(range(done + 2))
    count = min(len(table), 4)
    shown = ["val/loss", "val/dice", "lr"]
    pd.testing.assert_frame_equal(table[shown][:count], metrics(unbroken)[shown][:count])


def test_ctrl_c_in_a_sweep_is_in_its_table(tiny: list[str], tmp_path: Path) -> None:
    options = ["-m", *tiny, "trainer.max_epochs=9999", "optimizer.lr=0.001,0.0001", f"run_dir={tmp_path / 'sweep'}"]
    first = tmp_path / "sweep/000_optimizer.lr=0.001"
    code, _, err = interrupted(["train", *options], first / "checkpoints/last.ckpt")
    assert code == 130
    assert "Traceback" not in err
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
        "run_dir=elsewhere": "stays in its folder",
    }
    for override, reason in refusals.items():
        with pytest.raises(UserError, match=reason):
            start([f"resume={run}", override])
    assert (run / "config.yaml").read_bytes() == before


def test_two_processes_do_not_write_to_one_run(trained: dict[str, Any]) -> None:
    with folder.lock(Path(trained["run_dir"])), pytest.raises(UserError, match="going on in another process"):
        start([f"resume={trained['run_dir']}"])
