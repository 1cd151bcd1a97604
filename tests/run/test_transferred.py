"""Runs that begin with weights from elsewhere, and everything against overfitting at once."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from medexp.errors import UserError
from medexp.run.evaluate import evaluate
from medexp.run.train import start

TWO = ["dataset.classes=[background,body]", "dataset.label_values=[0,[1,2,3]]"]  # the phantom's organs as one
STILL = "optimizer.lr=1e-12"
DDP = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]


def weights(run: Path, name: str = "last") -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(run / f"checkpoints/{name}.ckpt", weights_only=True)["state_dict"]
    return state


@pytest.fixture(scope="module")
def source(tiny: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "source"
    start([*tiny, *TWO, "dataset.split.skip_train=3", "trainer.max_epochs=1", f"run_dir={run}"])
    return run


def test_a_run_begins_with_what_fits_and_writes_down_what_did_not(
    source: Path, tiny: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = tmp_path / "run"
    few = ["dataset.split.limit_train=3", "dataset.batch_size=2", "trainer.max_epochs=1", STILL]
    start([*tiny, *few, f"init.weights={source}", f"run_dir={run}"])
    table = pd.read_csv(run / "transfer.csv").fillna("").set_index("tensor")
    kept = table[table["outcome"] == "kept"]
    assert 0 < len(kept) < len(table) / 2
    assert kept["reason"].str.contains("shapes differ: .* there, .* here").all()
    there, here = weights(source, "best"), weights(run)
    for name, row in table[table["outcome"] == "loaded"].iterrows():
        torch.testing.assert_close(here[f"net.{name}"], there[row["source"]], atol=1e-6, rtol=0)
    line = next(line for line in (run / "train.log").read_text().splitlines() if "initialised from" in line)
    assert re.search(rf"{len(table) - len(kept)} tensors loaded, 0 inflated, {len(kept)} left as drawn", line)
    assert "test patients" not in (run / "train.log").read_text()


def test_test_patients_that_the_source_was_trained_on_are_said(source: Path, tiny: list[str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    start([*tiny, f"init.weights={source}", "seed=1", "trainer.max_epochs=1", f"run_dir={run}"])
    assert re.search(
        r"init.weights: \d of \d test patients \(e.g. .* were in training", (run / "train.log").read_text()
    )


def test_a_resumed_run_does_not_begin_anew(source: Path, tiny: list[str], tmp_path: Path) -> None:
    away = Path(shutil.copytree(source, tmp_path / "source"))
    words = [*tiny, f"init.weights={away}", "scheduler=constant"]
    start([*words, "trainer.max_epochs=3", f"run_dir={tmp_path / 'whole'}"])
    start([*words, "trainer.max_epochs=1", f"run_dir={tmp_path / 'part'}"])
    shutil.rmtree(away)
    start([f"resume={tmp_path / 'part'}", "trainer.max_epochs=3"])
    whole, part = weights(tmp_path / "whole"), weights(tmp_path / "part")
    assert all(torch.equal(value, part[name]) for name, value in whole.items())
    assert evaluate(tmp_path / "part")["metrics"]  # nothing of the source is needed


def test_a_source_that_is_not_there_is_said_before_anything_is_made(tiny: list[str], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"init\.weights: .*nowhere does not exist; allowed: a run folder"):
        start([*tiny, "init.weights=nowhere", f"run_dir={tmp_path / 'run'}"])
    assert not (tmp_path / "run").exists()


def test_a_run_of_before_there_were_other_weights_is_still_one(trained: dict[str, Any], tmp_path: Path) -> None:
    run = Path(shutil.copytree(trained["run_dir"], tmp_path / "run"))
    config = (run / "config.yaml").read_text()
    older = re.sub(r"^init:\n(  .*\n)+", "", config, flags=re.MULTILINE)
    assert len(older) < len(config)
    (run / "config.yaml").write_text(older)
    assert evaluate(run)["metrics"]["dice"]["mean"] == pytest.approx(
        evaluate(Path(trained["run_dir"]), output=tmp_path / "again")["metrics"]["dice"]["mean"]
    )


def test_all_at_once_trains_and_a_resumed_run_is_the_unbroken_one_bit_by_bit(phantom_2d: Path, tmp_path: Path) -> None:
    root = [f"dataset.root={phantom_2d}", "dataset.source.patients=12", "dataset.batch_size=3", "figures=0"]
    regular = ["task.l1=1e-5", "task.layer_decay=0.7", "model.dropout=0.3", "loss.label_smoothing=0.1"]
    callbacks = "callbacks=[mixup,cutmix,swa,gradual_unfreezing,early_stopping]"
    often = [
        "callbacks.swa.start=0.3",
        "callbacks.cutmix.probability=0.7",
        "scheduler=constant",
        "trainer.max_epochs=4",
    ]
    words = ["experiment=classification/phantom_presence_2d", *root, *regular, callbacks, *often]
    start([*words, f"run_dir={tmp_path / 'whole'}"])
    saboteur = (
        "import pytorch_lightning as pl\nclass Stop(pl.Callback):\n    def __init__(self, at: int): self.at = at\n"
    )
    saboteur += "    def on_train_epoch_start(self, trainer, task):\n"
    saboteur += "        if trainer.current_epoch == self.at: raise KeyboardInterrupt\n"
    Path("stopping.py").write_text(saboteur)
    part = tmp_path / "part"
    with pytest.raises(SystemExit):
        start([*words, "+callbacks.stop={_target_: stopping.Stop, at: 2}", f"run_dir={part}"])
    config = (part / "config.yaml").read_text()
    (part / "config.yaml").write_text(config.replace("at: 2", "at: -1"))
    start([f"resume={part}"])
    log = (part / "train.log").read_text()
    assert log.count("callbacks.unfreeze: layers stay as they were drawn at random") == 1  # of the resumed run no more
    for name, value in weights(tmp_path / "whole").items():
        assert torch.equal(value, weights(part)[name]), name
    assert (part / "metrics.csv").read_text() == (tmp_path / "whole/metrics.csv").read_text()


@pytest.mark.slow
def test_two_processes_unfreeze_what_one_would(
    source: Path, medexp: Callable[..., Any], tiny: list[str], tmp_path: Path
) -> None:
    words = [*tiny, "callbacks=gradual_unfreezing", "callbacks.unfreeze.at_once=2", f"init.weights={source}"]
    words += ["augmentation=none", "dataset.patch_size=[32,32]", "optimizer=sgd", "trainer.max_epochs=3"]
    runs = {"one": ["dataset.batch_size=4"], "two": [*DDP, "dataset.batch_size=2"]}
    for name, more in runs.items():
        done = medexp("train", *words, *more, f"run_dir={tmp_path / name}")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.count("initialised from") == 1
        assert [line.split(" of ")[0] for line in done.stdout.splitlines() if "layers learn" in line] == ["1", "3", "4"]
    one, two = (weights(tmp_path / name) for name in runs)
    for name, value in one.items():
        torch.testing.assert_close(value, two[name], atol=1e-4, rtol=1e-3)
