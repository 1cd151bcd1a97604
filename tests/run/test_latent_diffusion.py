"""Diffusion in the latent of an autoencoder's run, from the command to the files."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from layouts.configs import problems

from medexp.callbacks.checkpoint_file import read
from medexp.config import latent
from medexp.config.compose import compose, resolve
from medexp.errors import UserError
from medexp.run.export import export
from medexp.run.generate import generate
from medexp.run.train import start

NET = ["model.norm_num_groups=4", "model.attention_levels=[false,false]", "trainer.check_val_every_n_epoch=1"]
SMALL = ["dataset.image_size=[16,16]", "trainer.max_epochs=1", "dataset.batch_size=4", "figures=0"]
LATENT = ["task=diffusion_latent", "model=diffusion_unet_latent", "model.channels=[8,8]", "model.num_head_channels=8"]


@pytest.fixture(scope="module")
def words(phantom_2d: Path) -> list[str]:
    root = [f"dataset.root={phantom_2d}", "dataset.source.patients=12", "trainer.precision=32-true"]
    return ["experiment=diffusion/phantom_2d", *root, *SMALL, *NET]


@pytest.fixture(scope="module")
def autoencoder(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "autoencoder"
    net = ["task=autoencoder", "model=autoencoder_kl", "model.channels=[4,8]"]
    return Path(start([*words, *net, f"run_dir={run}"])["run_dir"])


def test_a_run_and_its_release_draw_in_the_latent_and_need_the_autoencoders_run_no_more(
    words: list[str], autoencoder: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(autoencoder, tmp_path / "autoencoder")
    quick = ["task.timesteps=20", "task.steps=2", "metrics.test.count=3"]
    made = start([*words, *LATENT, *quick, f"task.autoencoder={copy}", f"run_dir={tmp_path / 'run'}"])
    run = Path(made["run_dir"])
    generate(run, 2, tmp_path / "one")
    learnt, given = (
        read(run / "checkpoints/best.ckpt")["state_dict"],
        read(copy / "checkpoints/best.ckpt")["state_dict"],
    )
    for key, value in given.items():
        if key.startswith("net."):
            assert torch.equal(learnt[f"autoencoder.{key}"], value), key  # not trained any further
    assert learnt["measured.shape"].tolist() == [8, 8]
    assert learnt["images.shape"].tolist() == [16, 16]
    shutil.rmtree(copy)
    released = export(run, tmp_path / "released")
    assert "medexp generate THIS_FOLDER" in (released / "README.md").read_text()
    for one in (run, released):
        generate(one, 2, tmp_path / one.name / "samples")
        for path in (tmp_path / "one").glob("*.png"):
            assert path.read_bytes() == (tmp_path / one.name / "samples" / path.name).read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["task.out_channels=4"], "task.out_channels: 4, but the latent of the autoencoder has 3 channels"),
        (["model=diffusion_unet"], "model.in_channels: 1, but"),
        (["dataset.image_size=[18,18]"], "halve it down to a 4th; give multiples of 4"),
    ],
)
def test_parts_that_do_not_fit_are_refused(
    words: list[str], autoencoder: Path, change: list[str], message: str
) -> None:
    cfg = resolve(compose([*words, *LATENT, f"task.autoencoder={autoencoder}", *change, "run_dir=run"]))
    latent.expand(cfg)
    found = list(_checked(cfg))
    assert any(message in problem for problem in found), found


def _checked(cfg: dict[str, object]) -> list[str]:
    from medexp.config.check import check
    from medexp.errors import Faults

    try:
        check(cfg, "the config")
    except Faults as faults:
        return faults.problems
    return []


def test_a_run_that_is_no_autoencoder_or_has_seen_other_images_is_refused(
    words: list[str], autoencoder: Path, tmp_path: Path
) -> None:
    other = resolve(compose([*words, *LATENT, f"task.autoencoder={autoencoder}", "dataset.normalize=null"]))
    with pytest.raises(UserError, match=r"task\.autoencoder: .* has seen images of dataset\.normalize="):
        latent.expand(other)
    cfg = resolve(compose([*words, *LATENT, f"task.autoencoder={tmp_path}"]))
    with pytest.raises(UserError, match="not a run folder"):
        latent.expand(cfg)


@pytest.mark.parametrize("left", [0, 3000])
def test_a_damaged_checkpoint_is_named_before_anything_is_read(
    left: int, words: list[str], autoencoder: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(autoencoder, tmp_path / "autoencoder")
    best = copy / "checkpoints/best.ckpt"
    best.write_bytes(best.read_bytes()[:left])
    cfg = resolve(compose([*words, *LATENT, f"task.autoencoder={copy}"]))
    with pytest.raises(UserError, match=rf"task\.autoencoder: {best} is cut off, or no checkpoint"):
        latent.expand(cfg)


def test_a_latent_is_asked_for() -> None:
    with pytest.raises(UserError, match=r"task\.autoencoder: has no value yet"):
        problems("experiment=diffusion/phantom_2d", *LATENT)
