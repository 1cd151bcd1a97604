from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

DDP = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "dataset.batch_size=5"]


@pytest.mark.slow
def test_two_processes_train_one_run_and_test_it_once(
    medexp: Callable[..., Any], tiny: list[str], tmp_path: Path
) -> None:
    done = medexp("train", *tiny, *DDP, f"run_dir={tmp_path / 'run'}")
    assert (done.returncode, done.stderr) == (0, "")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert done.stdout.count("evaluating 4 cases") == 1
    assert done.stdout.count("epoch 2/2") == 1
    table = pd.read_csv(tmp_path / "run/metrics.csv").groupby("epoch").first()
    assert len(table) == 2
    assert table.notna().all(axis=None)
    assert len(pd.read_csv(tmp_path / "run/per_case.csv")) == 4


@pytest.mark.slow
def test_ranks_of_a_job_do_not_start_the_sweep_again(
    medexp: Callable[..., Any], tiny: list[str], tmp_path: Path
) -> None:
    done = medexp("train", "-m", *tiny, *DDP, "trainer.max_epochs=1", "seed=0", f"run_dir={tmp_path / 'sweep'}")
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "sweep/sweep.csv")
    assert table["state"].tolist() == ["done"]
    assert sorted(path.name for path in (tmp_path / "sweep").iterdir()) == ["000_job", "sweep.csv"]
    assert done.stdout.count("evaluating 4 cases") == 1


def test_a_mistake_in_a_run_of_several_processes_is_one_line_and_leaves_nothing(
    medexp: Callable[..., Any], tiny: list[str], tmp_path: Path
) -> None:
    done = medexp("train", *tiny, *DDP, "dataset.classes=[a,b]", f"run_dir={tmp_path / 'run'}")
    assert done.returncode == 2
    assert done.stderr.startswith("medexp: ")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


SABOTEUR = """
import multiprocessing, os, signal
import pytorch_lightning as pl

class At(pl.Callback):
    def __init__(self, step: int, rank: int, what: str):
        self.step, self.rank, self.what = step, rank, what

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if (trainer.global_step, trainer.global_rank) != (self.step, self.rank):
            return
        if self.what == "poison":
            batch["image"].fill_(float("nan"))
        else:
            named = {"kill": os.getpid, "worker": lambda: multiprocessing.active_children()[0].pid, "stop": os.getppid}
            os.kill(named[self.what](), signal.SIGTERM if self.what == "stop" else signal.SIGKILL)
"""
STEPS = [
    "dataset.batch_size=1",
    "callbacks.checkpoint.every_n_train_steps=1",
    "model.dropout=0.2",
    "trainer.max_epochs=4",
]  # 4 an epoch


def struck(medexp: Callable[..., Any], words: list[str], run: Path, rank: int, what: str) -> Any:
    """A run of two ranks, one of which is struck before its 7th step of 16."""
    Path("saboteur.py").write_text(SABOTEUR)
    at = f"+callbacks.at={{_target_: saboteur.At, step: 6, rank: {rank}, what: {what}}}"
    return medexp("train", *words, at, f"run_dir={run}")


def state(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    return found


@pytest.mark.slow
def test_two_ranks_go_on_bit_by_bit_after_one_was_killed_and_after_both_were_asked_to_stop(
    medexp: Callable[..., Any], tiny: list[str], tmp_path: Path
) -> None:
    words = [*tiny, *DDP, *STEPS]
    assert medexp("train", *words, f"run_dir={tmp_path / 'whole'}").returncode == 0
    for rank, what, code in ((0, "kill", 1), (0, "stop", 143)):
        run = tmp_path / what
        done = struck(medexp, words, run, rank, what)
        assert done.returncode == code
        assert done.stderr.strip().splitlines()[-1].endswith(f"go on with: medexp train resume={run}")
        assert 4 <= state(run)["global_step"] < 16  # some were on their way to the disk
        config = (run / "config.yaml").read_text()
        (run / "config.yaml").write_text(config.replace("step: 6", "step: -1"))
        done = medexp("train", f"resume={run}")
        assert (done.returncode, done.stderr) == (0, "")
        for name, value in state(tmp_path / "whole")["state_dict"].items():
            assert torch.equal(value, state(run)["state_dict"][name])
        assert (run / "metrics.csv").read_text() == (tmp_path / "whole/metrics.csv").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "said"),
    [("poison", "the training loss became nan in epoch 1, step 6"), ("worker", "a data worker ended with SIGKILL")],
)
def test_what_strikes_one_rank_ends_both_with_the_reason(
    what: str, said: str, medexp: Callable[..., Any], tiny: list[str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    done = struck(medexp, [*tiny, *DDP, *STEPS, "dataset.num_workers=1"], run, 1, what)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert 4 <= state(run)["global_step"] < 16
    if what == "poison":
        (entry,) = json.loads((run / "nonfinite.json").read_text())
        assert [isinstance(rank["loss"], str) for rank in entry["ranks"]] == [False, True]
