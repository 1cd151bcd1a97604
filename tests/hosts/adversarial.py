"""Where options of tasks with a discriminator belong, and small data for them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

MODALITY = ("translation/phantom_modality", "translation/phantom_pix2pix")


def host(group: str, option: str, line: str) -> list[list[str]]:
    """Experiments into which an option fits."""
    if group in ("task", "metrics") and option == "pix2pix":
        return [
            ["experiment=translation/phantom_denoising", "task=pix2pix"],
            ["experiment=translation/phantom_pix2pix"],
        ]
    return []


def small_data(
    experiment: str, root: Path, layouts: SimpleNamespace, request: pytest.FixtureRequest
) -> list[str] | None:
    """The phantom in 2D."""
    if experiment not in MODALITY:
        return None
    return [f"dataset.root={request.getfixturevalue('phantom_2d')}", "dataset.source.patients=12"]


def exchanged(experiment: str) -> list[str] | None:
    """Other parts."""
    if experiment not in MODALITY:
        return None
    changes = ["model=basic_unet", "optimizer=sgd", "scheduler=plateau", "augmentation=none", "inferer=whole_by_16"]
    return [*changes, "loss=structural", "dataset.patch_size=[32,32]"]
