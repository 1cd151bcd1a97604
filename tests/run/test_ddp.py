"""Several processes train one run: `medexp` starts real ones, `warm` and `Command` forks of one (tests/forks.py)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from compared import checkpoint, same
from forks import warm

from medexp import build
from medexp.run import folder
from medexp.run.quiet import quiet

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


def test_ranks_of_a_job_do_not_start_the_sweep_again(tiny: list[str], tmp_path: Path) -> None:
    done = warm("train", "-m", *tiny, *DDP, "trainer.max_epochs=1", "seed=0", f"run_dir={tmp_path / 'sweep'}")
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "sweep/sweep.csv")
    assert table["state"].tolist() == ["done"]
    assert sorted(path.name for path in (tmp_path / "sweep").iterdir()) == ["000_job", "sweep.csv"]
    assert done.stdout.count("evaluating 4 cases") == 1


def test_a_mistake_in_a_run_of_several_processes_is_one_line_and_leaves_nothing(
    tiny: list[str], tmp_path: Path
) -> None:
    done = warm("train", *tiny, *DDP, "dataset.classes=[a,b]", f"run_dir={tmp_path / 'run'}")
    assert done.returncode == 2
    assert done.stderr.startswith("medexp: ")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


SABOTEUR = """
import multiprocessing, os, signal, time
import pytorch_lightning as pl

class At(pl.Callback):
    def __init__(self, step: int, rank: int, what: str):
        self.step, self.rank, self.what = step, rank, what

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if (trainer.global_step, trainer.global_rank) != (self.step, self.rank):
            return
        if self.what == "poison":
            batch["image"].fill_(float("nan"))
            return
        named = {"kill": os.getpid, "worker": lambda: multiprocessing.active_children()[0].pid, "stop": os.getppid}
        os.kill(named[self.what](), signal.SIGTERM if self.what == "stop" else signal.SIGKILL)
        while self.what == "stop" and not trainer.checkpoint_callback._signals.received:
            time.sleep(0.01)  # the command passes it on in its own time
"""
STEPS = [
    "dataset.batch_size=1",
    "callbacks.checkpoint.every_n_train_steps=1",
    "model.dropout=0.2",
    "trainer.max_epochs=4",
]  # 4 an epoch


def struck(words: list[str], run: Path, rank: int, what: str) -> Any:
    """A run of two ranks, one of which is struck before its 7th step of 16."""
    Path("saboteur.py").write_text(SABOTEUR)
    at = f"+callbacks.at={{_target_: saboteur.At, step: 6, rank: {rank}, what: {what}}}"
    return warm("train", *words, at, f"run_dir={run}")


def test_two_ranks_go_on_bit_by_bit_after_one_was_killed_and_after_both_were_asked_to_stop(
    tiny: list[str], tmp_path: Path
) -> None:
    words = [*tiny, *DDP, *STEPS]
    assert warm("train", *words, f"run_dir={tmp_path / 'whole'}").returncode == 0
    # Of the steps that were done two may be on their way to the disk; ranks agree to stop at the end of the epoch at latest.
    for what, code, steps in (("kill", 1, (4, 5, 6)), ("stop", 143, (7, 8))):
        run = tmp_path / what
        done = struck(words, run, 0, what)
        assert done.returncode == code, done.stderr
        assert done.stderr.strip().splitlines()[-1].endswith(f"go on with: medexp train resume={run}")
        assert checkpoint(run)["global_step"] in steps
        config = (run / "config.yaml").read_text()
        (run / "config.yaml").write_text(config.replace("step: 6", "step: -1"))
        done = warm("train", f"resume={run}")
        assert (done.returncode, done.stderr) == (0, "")
        same(run, tmp_path / "whole")


@pytest.mark.parametrize(
    ("what", "said"),
    [("poison", "the training loss became nan in epoch 1, step 6"), ("worker", "a data worker ended with SIGKILL")],
)
def test_what_strikes_one_rank_ends_both_with_the_reason(what: str, said: str, tiny: list[str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    done = struck([*tiny, *DDP, *STEPS, "dataset.num_workers=1"], run, 1, what)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert 4 <= checkpoint(run)["global_step"] <= 8  # batches of the epoch may have been there already
    if what == "poison":
        (entry,) = json.loads((run / "nonfinite.json").read_text())
        assert [isinstance(rank["loss"], str) for rank in entry["ranks"]] == [False, True]


PRESENCE = ["experiment=classification/phantom_presence_2d", "dataset.source.patients=12"]
NO_STATISTICS = ["model._target_=monai.networks.nets.Classifier", "model.in_shape=[1,64,64]", "model.classes=1"]
NO_STATISTICS += ["model.channels=[4]", "model.strides=[2]", "model.norm=instance"]


@pytest.mark.parametrize(("task", "cases", "ranks"), [("maps", 5, 2), ("maps", 2, 3), ("presence", 2, 3)])
def test_every_case_of_the_validation_counts_once_however_many_ranks_share_them(
    task: str, cases: int, ranks: int, tiny: list[str], phantom_2d: Path, tmp_path: Path
) -> None:
    ids = sorted(path.name.split(".")[0] for path in (phantom_2d / "imagesTr").iterdir())  # the first 5 of 3 patients
    split = {"val": ids[:cases] if cases == 5 else ids[5 : 5 + cases], "test": ids[-1:]}
    split["train"] = [name for name in ids[5:-1] if name not in split["val"]]
    (tmp_path / "split.json").write_text(json.dumps(split))
    presence = [*PRESENCE, *NO_STATISTICS, f"dataset.root={phantom_2d}"]  # its AUROC keeps all cases
    words = [*(tiny if task == "maps" else presence), "optimizer.lr=0", "figures=0"]
    words += [f"dataset.split.file={tmp_path / 'split.json'}", "dataset.split.unlisted=leave_out"]
    words += ["dataset.batch_size=1", "trainer.max_epochs=1"]
    seen = []
    for count in (1, ranks):
        run = tmp_path / f"of_{count}"
        shared = [*DDP[:2], f"trainer.devices={count}"]
        done = warm("train", *words, *shared, f"run_dir={run}")
        assert (done.returncode, done.stderr) == (0, "")
        row = pd.read_csv(run / "metrics.csv").groupby("epoch").first()
        seen.append(row.filter(like="val/").iloc[0])
    assert len(seen[0]) > 1
    pd.testing.assert_series_equal(*seen, rtol=1e-6)


def test_what_two_ranks_validate_is_what_the_checkpoint_holds(phantom_2d: Path, tmp_path: Path) -> None:
    """Batch normalisation has running statistics: those of the first rank count, though it has a case more to look at."""
    run = tmp_path / "run"
    shares = ["dataset.split.val=0.4", "dataset.split.test=0.1", "dataset.batch_size=1"]
    words = [*PRESENCE, f"dataset.root={phantom_2d}", "trainer.max_epochs=2", "optimizer.lr=0.01", f"run_dir={run}"]
    done = warm("train", *words, *DDP, *shares)
    assert (done.returncode, done.stderr) == (0, "")
    cfg = folder.load(run)
    data, task = build.datamodule(cfg), build.task(cfg)
    data.split = folder.read_json(run / folder.SPLIT)
    assert len(data.split["val"]) % 2 == 1
    build.load_weights(task, run / folder.LAST)
    with quiet():
        (found,) = build.single(cfg).validate(task, datamodule=data, verbose=False)
    logged = pd.read_csv(run / "metrics.csv")["val/loss"].dropna()
    assert logged.iloc[-1] == pytest.approx(found["val/loss"], rel=1e-5)
