"""Where options of tasks with a discriminator belong, and small data for them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

MODALITY = ("translation/phantom_modality", "translation/phantom_pix2pix", "translation/phantom_cyclegan")
PIX2PIX = [["experiment=translation/phantom_denoising", "task=pix2pix"], ["experiment=translation/phantom_pix2pix"]]
PHANTOM, MEDNIST = ["experiment=gan/phantom_2d"], ["experiment=gan/mednist"]
SOLID = ["dataset=phantom", "dataset.image_size=[32,32,32]", "dataset.source.image=image"]
CLASSES = ["AbdomenCT", "BreastMRI", "CXR", "ChestCT", "Hand", "HeadCT"]


def host(group: str, option: str, line: str) -> list[list[str]]:
    """Experiments into which an option fits."""
    if option == "pix2pix" and group in ("task", "metrics"):
        return PIX2PIX
    if option in ("cyclegan", "unpaired_channels"):
        return [["experiment=translation/phantom_cyclegan"]]
    if "adversarial generation" not in line.lower():
        return []
    if option.endswith("by_class"):
        return [MEDNIST]
    return [PHANTOM] if group in ("task", "metrics", "model") else [PHANTOM, MEDNIST]


def model(option: str, line: str) -> list[list[str]]:
    """In two and three dimensions."""
    return [PHANTOM, MEDNIST, [*PHANTOM, *SOLID]] if option == "noise_generator" else []


def small_data(
    experiment: str, root: Path, layouts: SimpleNamespace, request: pytest.FixtureRequest
) -> list[str] | None:
    """The phantom in 2D, or pictures."""
    if experiment in MODALITY or experiment == "gan/phantom_2d":
        quick = ["metrics.test.count=4"] if experiment.startswith("gan") else []
        return [f"dataset.root={request.getfixturevalue('phantom_2d')}", "dataset.source.patients=12", *quick]
    if experiment == "gan/mednist":
        pictures = layouts.pictures(root / "pictures", CLASSES, size=32)
        return [f"dataset.root={pictures}", "dataset.image_size=[32,32]", "metrics.test.count=6"]
    return None


def exchanged(experiment: str) -> list[str] | None:
    """Other parts."""
    if experiment in MODALITY:
        changes = ["model=basic_unet", "optimizer=sgd", "scheduler=plateau", "augmentation=none", "inferer=whole_by_16"]
        return [*changes, "loss=structural", "dataset.patch_size=[32,32]"]
    if experiment.startswith("gan"):
        changes = ["optimizer=sgd", "scheduler=plateau", "augmentation=flips", "callbacks=default", "loss=hinge"]
        return [*changes, "task.gradient_penalty=0"]
    return None
