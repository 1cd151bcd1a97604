"""Images from noise by a generator and a discriminator, from the command to the samples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from compared import checkpoint, same
from forks import warm
from layouts.configs import problems

from medexp import build
from medexp.run import folder
from medexp.run.export import export
from medexp.run.generate import generate
from medexp.run.train import start
from medexp.tasks.base import Task

SMALL = ["model.channels=[8,4]", "task.latent=4", "task.discriminator.channels=4", "task.discriminator.num_layers_d=2"]
STEPS = ["dataset.batch_size=2", "trainer.max_epochs=2", "callbacks.checkpoint.every_n_train_steps=1"]  # 4 an epoch
DATA = ["dataset.image_size=[16,16]", "trainer.check_val_every_n_epoch=1", "figures=0", "metrics.test.count=4"]


@pytest.fixture(scope="module")
def words(phantom_2d: Path) -> list[str]:
    """Overrides of a GAN of a second."""
    root = [f"dataset.root={phantom_2d}", "dataset.source.patients=12"]
    plain = ["loss=hinge", "task.gradient_penalty=0", "task.critic_steps=1"]
    return ["experiment=gan/phantom_2d", *root, *DATA, *SMALL, *STEPS, *plain]


@pytest.fixture(scope="module")
def by_class(phantom_2d: Path) -> list[str]:
    """Overrides of one that is told whether there is a lesion, by the loss of Wasserstein."""
    root = ["dataset=phantom_presence_2d", f"dataset.root={phantom_2d}", "dataset.source.patients=12"]
    return ["experiment=gan/mednist", *root, *DATA, *SMALL, *STEPS, "task.critic_steps=2"]


class Killed(BaseException):
    """In the place of SIGKILL: nothing catches it."""


@pytest.mark.parametrize("kind", ["words", "by_class"])
def test_generator_and_discriminator_go_on_bit_by_bit(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words, original = request.getfixturevalue(kind), Task.on_train_batch_start
    start([*words, f"run_dir={tmp_path / 'unbroken'}"])

    def once(task: Task, batch: Any, batch_idx: int) -> None:
        if task.global_step == 6:
            monkeypatch.setattr(Task, "on_train_batch_start", original)
            raise Killed
        original(task, batch, batch_idx)

    monkeypatch.setattr(Task, "on_train_batch_start", once)
    with pytest.raises(Killed):
        start([*words, f"run_dir={tmp_path / 'run'}"])
    assert checkpoint(tmp_path / "run")["global_step"] == 6
    start([f"resume={tmp_path / 'run'}"])
    same(tmp_path / "run", tmp_path / "unbroken")
    table = pd.read_csv(tmp_path / "run/metrics.csv").groupby("epoch").first()
    assert {"val/mmd", "train/adversarial", "train/discriminator"} <= set(table)
    assert (table["train/loss"] == table["train/adversarial"]).all()  # the discriminator is all that it learns from


def test_samples_are_those_of_the_average_and_each_of_its_seed(by_class: list[str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    start([*by_class, "trainer.max_epochs=1", f"run_dir={run}"])
    summary = json.loads((run / "summary.json").read_text())
    assert {"fid", "mmd", "distance", "copy"} <= summary["metrics"].keys()
    cfg = folder.load(run)
    task: Any = build.task(cfg)
    build.load_weights(task, run / folder.BEST)
    state = checkpoint(run, "best")
    assert any(
        not torch.equal(state["current_model_state"][key], state["state_dict"][key]) for key in state["state_dict"]
    )
    low, high = task.limits.tolist()
    found = task.generate(3, 7)
    assert found.shape == (3, 1, 16, 16)
    assert found.dtype == torch.float32
    assert low <= float(found.min()) < float(found.max()) <= high
    torch.testing.assert_close(task.generate(2, 7), found[:2])
    torch.testing.assert_close(task.generate(3, 7, torch.tensor([0, 1, 0])), found)  # of each class in turn
    assert not torch.allclose(task.generate(3, 7, torch.tensor([1, 1, 0]))[0], found[0])
    assert not torch.allclose(task.generate(3, 8), found)
    batch = {"image": found, "target": torch.tensor([0, 1, 0]), "case_id": ["a", "b", "c"]}
    with torch.no_grad():
        made, real = task.eval().metric_inputs(task.step(batch))  # in units of the data set, both of them
    torch.testing.assert_close(real, found)
    assert low <= float(made.min()) < float(made.max()) <= high
    manifests = [
        generate(place, 2, tmp_path / f"of_{place.name}") for place in (run, export(run, tmp_path / "release"))
    ]
    rows = [pd.read_csv(manifest) for manifest in manifests]
    assert rows[0].equals(rows[1])
    assert rows[0]["class"].tolist() == ["healthy", "lesion"]
    for name in rows[0]["file"]:
        assert len({(manifest.parent / name).read_bytes() for manifest in manifests}) == 1


def test_a_single_training_image_leaves_a_table_without_what_needs_two(words: list[str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    start([*words, "dataset.limit=1", "trainer.max_epochs=1", f"run_dir={run}"])
    metrics = json.loads((run / "summary.json").read_text())["metrics"]
    assert {name: metrics[name].get("reason") for name in metrics} == {
        **dict.fromkeys(["fid", "mmd", "ratio", "copy"], "a single training image"), "distance": None
    }  # fmt: skip
    table = pd.read_csv(run / "per_case.csv")
    assert table["nearest"].nunique() == 1
    assert table[["ratio", "copy"]].isna().all(axis=None)


def test_solid_images_are_generated_as_well(phantom: Path, tmp_path: Path) -> None:
    root = ["dataset=phantom", f"dataset.root={phantom}", "dataset.source.patients=10", "dataset.spacing=null"]
    size = ["dataset.image_size=[16,16,16]", "dataset.patch_size=null", "trainer.max_epochs=1"]
    run = tmp_path / "run"
    start(["experiment=gan/phantom_2d", *root, *DATA, *SMALL, *STEPS, *size, f"run_dir={run}"])
    (scan,) = generate(run, 1, tmp_path / "samples").parent.glob("*.nii.gz")
    assert scan.name == "sample_00000.nii.gz"


def test_two_ranks_draw_noise_of_their_own_and_agree_in_the_end(words: list[str], tmp_path: Path) -> None:
    done = warm(
        *("train", *words, "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "callbacks=default"),
        *("trainer.max_epochs=1", "task.gradient_penalty=1", "task.critic_steps=2", f"run_dir={tmp_path / 'run'}"),
    )
    assert (done.returncode, done.stderr) == (0, "")
    row = pd.read_csv(tmp_path / "run/metrics.csv").groupby("epoch").first()
    assert row.notna().all(axis=None)


def test_noise_of_the_validation_is_by_the_names_of_cases(words: list[str], tmp_path: Path) -> None:
    """What is validated with weights that stand still does not move."""
    still = ["optimizer.lr=0", "task.discriminator_optimizer.lr=0", "callbacks=default", "model.norm=instance"]
    start([*words, *still, f"run_dir={tmp_path / 'run'}"])
    found = pd.read_csv(tmp_path / "run/metrics.csv")["val/mmd"].dropna()
    assert len(found) == 2
    assert found.nunique() == 1


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["loss=wasserstein"], "task.gradient_penalty: 0, but loss=wasserstein needs one; set it to 10"),
        (["task.gradient_penalty=10", "task.discriminator.norm=batch"], "batch norm mixes images"),
        (["task.gradient_penalty=-1"], "task.gradient_penalty: -1 is negative"),
        (["task.latent=0"], "task.latent: 0 leaves no noise to tell one image from another"),
        (["task.critic_steps=0"], "task.critic_steps: 0 is below 1"),
        (["loss=mae"], "which task=gan has; choose hinge or wasserstein"),
        (["task.classes=3"], "task.classes: 3, but None are needed"),
        (["model.latent=7"], "model.latent: 7, but task.latent is 4"),
        (["model.size=[32,32]"], "makes [1, 32, 32] of noise, but [1, 16, 16] is needed"),
        (["task.discriminator.in_channels=2"], "but it sees 1 of the image; set it to 1"),
        (["dataset.image_size=null", "model.size=[16,16]"], "samples have one size"),
        (["degradation=gaussian_noise"], "only task=translation restores images"),
        (["trainer.accumulate_grad_batches=2"], "steps two networks with each batch"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_is_read(overrides: list[str], reason: str, words: list[str]) -> None:
    assert any(reason in line for line in problems(*words, *overrides)), problems(*words, *overrides)


def test_a_loss_of_scores_fits_no_other_task() -> None:
    (found,) = problems("experiment=segmentation/phantom_2d", "loss=hinge")
    assert "which this task has not; choose another" in found
