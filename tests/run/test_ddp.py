from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

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
