"""Experiments that leaves of diffusion fit into, and small data for them."""

from __future__ import annotations

import functools
import tempfile
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

PHANTOM, MEDNIST = ["experiment=diffusion/phantom_2d"], ["experiment=diffusion/mednist"]
RESTORATION = ["experiment=diffusion/phantom_super_resolution"]
QUICK = ["metrics.test.count=4", "task.steps=2"]
CLASSES = ["AbdomenCT", "BreastMRI", "CXR", "ChestCT", "Hand", "HeadCT"]


def host(group: str, option: str, line: str) -> list[list[str]]:
    if group not in ("task", "metrics", "model") or not option.startswith("diffusion"):
        return []
    if option.endswith("latent"):
        return [_latent()]
    chosen = RESTORATION if option.endswith("restoration") else MEDNIST if option.endswith("by_class") else PHANTOM
    return [[*chosen, *([f"task={option}"] if group == "metrics" else [])]]


@functools.cache
def _autoencoder() -> str:
    """A run folder as far as a config looks at it."""
    from omegaconf import OmegaConf

    from medexp.config.compose import compose, resolve

    run = Path(tempfile.mkdtemp())
    cfg = resolve(compose([*PHANTOM, "task=autoencoder", "model=autoencoder_kl", f"run_dir={run}"]))
    (run / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(cfg)))
    (run / "checkpoints").mkdir()
    zipfile.ZipFile(run / "checkpoints" / "best.ckpt", "w").close()  # what torch writes is one
    return str(run)


def _latent() -> list[str]:
    return [*PHANTOM, "task=diffusion_latent", "model=diffusion_unet_latent", f"task.autoencoder={_autoencoder()}"]


def model(option: str, line: str) -> list[list[str]]:
    solid = ["dataset=phantom", "dataset.image_size=[16,16,16]"]
    if option == "diffusion_unet_latent":
        solid = ["task.autoencoder=null", "task.out_channels=1", "dataset=phantom", "dataset.image_size=[16,16,16]"]
        return [_latent(), [*_latent(), *solid]]
    if option == "diffusion_unet_restoration":
        return [RESTORATION, [*RESTORATION, "dataset=phantom", "dataset.patch_size=[16,16,16]"]]
    return [PHANTOM, [*PHANTOM, *solid], MEDNIST] if option == "diffusion_unet" else []


def exchanged(experiment: str) -> list[str] | None:
    if not experiment.startswith("diffusion"):
        return None
    return ["optimizer=sgd", "scheduler=plateau", "augmentation=flips", "callbacks=default", "loss=mae"]


def small_data(
    experiment: str, root: Path, layouts: SimpleNamespace, request: pytest.FixtureRequest
) -> list[str] | None:
    if not experiment.startswith("diffusion"):
        return None
    if "phantom" in experiment:
        given = [f"dataset.root={request.getfixturevalue('phantom_2d')}", "dataset.source.patients=12"]
    else:
        given = [f"dataset.root={layouts.pictures(root / 'pictures', CLASSES, size=32)}"]
    if "super_resolution" in experiment:
        return [*given, "task.steps=2", "dataset.patch_size=[16,16]"]
    return [*given, *QUICK, "dataset.image_size=[16,16]"]
