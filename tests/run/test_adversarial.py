"""Tasks with a discriminator by the command: they go on bit by bit, with ranks, averages and precisions like any other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from compared import checkpoint, same
from forks import warm
from layouts.configs import problems

from medexp.run.export import export
from medexp.run.predict import predict
from medexp.run.train import start
from medexp.tasks.base import Task

SMALL = [
    "model.channels=[4,8]",
    "model.strides=[2]",
    "task.discriminator.channels=4",
    "task.discriminator.num_layers_d=2",
]
STEPS = ["dataset.batch_size=2", "trainer.max_epochs=2", "callbacks.checkpoint.every_n_train_steps=1"]  # 4 an epoch


@pytest.fixture(scope="module")
def words(phantom_2d: Path) -> list[str]:
    """Overrides of a pix2pix of a second."""
    root = [f"dataset.root={phantom_2d}", "dataset.source.patients=12", "dataset.patch_size=[32,32]"]
    parts = ["task=pix2pix", "dataset=phantom_2d", "inferer=whole_by_16", "figures=0", "metrics.test.baselines=[input]"]
    return ["experiment=translation/phantom_denoising", *parts, *root, *SMALL, *STEPS]


class Killed(BaseException):
    """In the place of SIGKILL: nothing catches it."""


@pytest.fixture
def kill_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """kill_at(n): once, before the batch that follows n steps."""
    original = Task.on_train_batch_start

    def plan(step: int) -> None:
        def once(task: Task, batch: Any, batch_idx: int) -> None:
            if task.global_step == step:
                monkeypatch.setattr(Task, "on_train_batch_start", original)
                raise Killed
            original(task, batch, batch_idx)

        monkeypatch.setattr(Task, "on_train_batch_start", once)

    return plan


VARIANTS: dict[str, tuple[list[str], list[int]]] = {
    "plain": (["model.dropout=0.2"], [2, 4]),
    "averaged in 16 bits": (["callbacks=ema", "trainer.precision=bf16-mixed"], [5]),
    "plateau": (
        ["scheduler=plateau", "scheduler.schedule.patience=0", "trainer.max_epochs=3", "optimizer.lr=0.1"],
        [9],
    ),
    "own optimizer, l1 and layers": (
        [
            "task.discriminator_optimizer={_target_: torch.optim.SGD, _partial_: true, lr: 0.01}",
            *("task.l1=1e-4", "task.layer_decay=0.8", "scheduler=one_cycle"),
        ],
        [3],
    ),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_both_networks_go_on_from_any_step_bit_by_bit(
    name: str, words: list[str], tmp_path: Path, kill_at: Callable[[int], None]
) -> None:
    options, steps = VARIANTS[name]
    start([*words, *options, f"run_dir={tmp_path / 'unbroken'}"])
    whole = checkpoint(tmp_path / "unbroken")
    assert len(whole["optimizer_states"]) == 2
    assert any(key.startswith("discriminator.") for key in whole["state_dict"])
    table = pd.read_csv(tmp_path / "unbroken/metrics.csv").groupby("epoch").first()
    assert table[["train/loss", "train/adversarial", "train/discriminator", "val/psnr"]].notna().all(axis=None)
    for step in steps:
        run = tmp_path / f"run_{step}"
        kill_at(step)
        with pytest.raises(Killed):
            start([*words, *options, f"run_dir={run}"])
        assert checkpoint(run)["global_step"] == step  # a batch is a step, whatever moves in it
        start([f"resume={run}"])
        same(run, tmp_path / "unbroken")


def test_two_ranks_learn_what_one_does_from_the_same_cases(words: list[str], tmp_path: Path) -> None:
    """The mean of two gradients is that of the whole batch, for both networks, also where a backward pass leaves one out."""
    plain = ["augmentation=none", "optimizer=sgd", "optimizer.lr=0.01", "task.discriminator_optimizer=null"]
    plain += ["task.weight=1", "trainer.max_epochs=1"]
    found = []
    for ranks in (1, 2):
        share = [
            f"dataset.batch_size={4 // ranks}",
            "trainer=ddp",
            "trainer.accelerator=cpu",
            f"trainer.devices={ranks}",
        ]
        done = warm("train", *words, *plain, *share, f"run_dir={tmp_path / str(ranks)}")
        assert (done.returncode, done.stderr) == (0, "")
        found.append(pd.read_csv(tmp_path / str(ranks) / "metrics.csv").filter(like="/").to_numpy())
    np.testing.assert_allclose(*found, rtol=1e-4)


def test_what_a_run_gives_away_and_predicts_with_is_its_generator(
    words: list[str], phantom_2d: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    start([*words, "trainer.max_epochs=1", f"run_dir={run}"])
    release = export(run, tmp_path / "release")
    from safetensors.torch import load_file

    assert all(name.startswith("net.") for name in load_file(release / "weights.safetensors"))
    source = next((phantom_2d / "imagesTr").iterdir())
    found = [tmp_path / f"of_{place.name}.nii.gz" for place in (run, release)]
    for place, output in zip((run, release), found, strict=True):
        predict(place, source, output)
    assert found[0].read_bytes() == found[1].read_bytes()
    translation = [word for word in words if not word.startswith("task")]
    start([*translation, "trainer.max_epochs=1", f"init.weights={run}", f"run_dir={tmp_path / 'after'}"])
    table = pd.read_csv(tmp_path / "after/transfer.csv")
    assert (table.loc[table["tensor"].notna(), "outcome"] == "loaded").all()


def test_blocks_computed_again_and_channels_last_change_nothing_that_counts(words: list[str], tmp_path: Path) -> None:
    found = []
    for number, options in enumerate(([], ["trainer.activation_checkpointing=true"], ["trainer.channels_last=true"])):
        start([*words, "trainer.max_epochs=1", *options, f"run_dir={tmp_path / str(number)}"])
        found.append(checkpoint(tmp_path / str(number))["state_dict"])
    for other in found[1:]:
        for name, value in found[0].items():
            torch.testing.assert_close(other[name], value, rtol=1e-2, atol=1e-4)


def test_a_poisoned_batch_is_left_out_of_both_networks_and_counted_once(words: list[str], tmp_path: Path) -> None:
    Path("saboteur.py").write_text(
        "import pytorch_lightning as pl\n"
        "class Poison(pl.Callback):\n"
        "    def on_train_batch_start(self, trainer, module, batch, index):\n"
        "        if trainer.global_step == 1: batch['image'].fill_(float('nan'))\n"
    )
    run = tmp_path / "run"
    at = ["+callbacks.poison={_target_: saboteur.Poison}", "callbacks.finite.skip=1", "trainer.max_epochs=1"]
    start([*words, *at, f"run_dir={run}"])
    assert all(value.isfinite().all() for value in checkpoint(run)["state_dict"].values())
    row = pd.read_csv(run / "metrics.csv").groupby("epoch").first()
    assert np.isfinite(row.filter(like="train/")).all(axis=None)
    with pytest.raises(Exception, match="became nan in epoch 0, step 1"):
        start([*words, *at[:1], f"run_dir={tmp_path / 'stopped'}"])


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("trainer.accumulate_grad_batches=2", "steps two networks with each batch"),
        ("trainer.strategy=fsdp", "use ddp, or one device"),
        ("task.discriminator.in_channels=1", "1 of the image and 1 of the input (task.condition); set it to 2"),
        ("task.condition=false", "it sees 1 of the image; set it to 1"),
        ("task.discriminator.spatial_dims=3", "but dataset.spatial_dims is 2"),
        ("task.discriminator.num_layers_d=6", "cannot take 2 x [32, 32]"),
        ("task.discriminator_optimizer.bettas=[0,1]", "did you mean 'betas'?"),
        ("task.weight=-1", "is negative"),
        ("monitor=train/discriminater", "did you mean 'train/discriminator'"),
        ("degradation=null", "give one, e.g. degradation=gaussian_noise"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_is_read(override: str, reason: str, words: list[str]) -> None:
    assert any(reason in line for line in problems(*words, override))
