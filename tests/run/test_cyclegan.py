"""Translation without pairs, from the command to the scores on pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from compared import checkpoint, same
from forks import warm
from layouts.configs import problems

from medexp.run.export import export
from medexp.run.train import start
from medexp.tasks.base import Task

SMALL = [
    "model.channels=[4,8]",
    "model.strides=[2]",
    "task.discriminator.channels=4",
    "task.discriminator.num_layers_d=2",
]
STEPS = ["dataset.batch_size=2", "trainer.max_epochs=2", "callbacks.checkpoint.every_n_train_steps=1"]  # 4 an epoch
BACK = "_target_: monai.networks.nets.BasicUNet, spatial_dims: 2"
JUDGE = "_target_: monai.networks.nets.PatchDiscriminator, spatial_dims: 2, channels: 4, num_layers_d: 2"
DATA = ["dataset.patch_size=[32,32]", "figures=0", "metrics.test.baselines=[input]"]


@pytest.fixture(scope="module")
def words(phantom_2d: Path) -> list[str]:
    """Overrides of a CycleGAN of a second, whose discriminators see earlier images from the second step on."""
    root = [f"dataset.root={phantom_2d}", "dataset.source.patients=12", "task.pool=3"]
    return ["experiment=translation/phantom_cyclegan", *root, *DATA, *SMALL, *STEPS]


class Killed(BaseException):
    """In the place of SIGKILL: nothing catches it."""


def test_four_networks_and_the_pool_go_on_bit_by_bit(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Task.on_train_batch_start
    start([*words, f"run_dir={tmp_path / 'unbroken'}"])
    for step in (4, 6):  # at the end of an epoch and within one
        monkeypatch.setattr(Task, "on_train_batch_start", _killing(step, original, monkeypatch))
        run = tmp_path / f"run_{step}"
        with pytest.raises(Killed):
            start([*words, f"run_dir={run}"])
        assert [pool.shape for pool in checkpoint(run)["pools"]] == [(1, 3, 1, 32, 32)] * 2
        start([f"resume={run}"])
        same(run, tmp_path / "unbroken")
    names = {name.split(".")[0] for name in checkpoint(tmp_path / "unbroken")["state_dict"]}
    assert {"net", "inverse", "discriminator", "inverse_discriminator"} <= names


def _killing(step: int, original: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    def once(task: Task, batch: Any, batch_idx: int) -> None:
        if task.global_step == step:
            monkeypatch.setattr(Task, "on_train_batch_start", original)
            raise Killed
        original(task, batch, batch_idx)

    return once


def test_it_never_sees_a_pair_and_is_scored_on_pairs(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medexp.data.cases import TrainCases

    drawn: list[int] = []
    original = TrainCases.__getitem__

    def noted(cases: TrainCases, draw: Any) -> Any:
        drawn.append(draw.index)
        return original(cases, draw)

    monkeypatch.setattr(TrainCases, "__getitem__", noted)
    run = tmp_path / "run"
    start([*words, f"run_dir={run}"])
    assert set(drawn[::2]) & set(drawn[1::2]) == set()  # images, and the references beside them
    table = pd.read_csv(run / "metrics.csv").groupby("epoch").first()
    assert table[["val/psnr", "val/loss", "train/discriminator"]].notna().all(axis=None)
    assert (pd.read_csv(run / "per_case.csv")["psnr_input"] < 100).all()
    from safetensors.torch import load_file

    release = export(run, tmp_path / "release")
    assert {name.split(".")[0] for name in load_file(release / "weights.safetensors")} == {"net"}


def test_two_ranks_keep_pools_of_their_own(words: list[str], tmp_path: Path) -> None:
    ranks = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "dataset.batch_size=1"]
    done = warm("train", *words, *ranks, "trainer.max_epochs=1", f"run_dir={tmp_path / 'run'}")
    assert (done.returncode, done.stderr) == (0, "")
    first, second = checkpoint(tmp_path / "run")["pools"][0]
    assert not first.equal(second)


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["degradation=other_channels"], "learns without; choose degradation=unpaired_channels"),
        ([f"task.inverse_discriminator={{{JUDGE}, in_channels: 2}}"], "but it sees 1 of the image; set it to 1"),
        (
            [f"task.inverse={{{BACK}, in_channels: 2}}"],
            "task.inverse: monai.networks.nets.BasicUNet cannot take 1 x [32, 32]",
        ),
        (
            [f"task.inverse={{{BACK}, in_channels: 1, out_channels: 2}}"],
            "returns [2, 32, 32], but [1, 32, 32] is needed",
        ),
        (["dataset.augment_on_device=true"], "set it to false"),
        (["dataset.balance=class"], "the two sets say what is drawn"),
        (["task.cycle=-1"], "task.cycle: -1 is negative"),
        (["task.pool=-1"], "task.pool: -1 is negative"),
        (
            ["dataset.in_channels=3", "degradation.outputs=[1,2]", "task.out_channels=2"],
            "needs as many channels in as out",
        ),
    ],
)
def test_what_does_not_fit_is_said_before_anything_is_read(overrides: list[str], reason: str, words: list[str]) -> None:
    assert any(reason in line for line in problems(*words, *overrides)), problems(*words, *overrides)


@pytest.mark.parametrize("task", ["translation", "pix2pix"])
def test_images_of_different_patients_teach_no_task_that_compares_them(task: str) -> None:
    options = ["experiment=translation/phantom_modality", f"task={task}", "task.out_channels=1", "task.residual=false"]
    (found,) = problems(*options, "degradation=unpaired_channels")
    assert "this task learns from pairs; choose task=cyclegan" in found
