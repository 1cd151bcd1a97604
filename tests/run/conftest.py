"""Runs so small that a test can afford several of them, and one that the tests that only read a run share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medexp.run.train import start

NET = ["model.channels=[4,8]", "model.strides=[2]", "inferer.divisible_by=2", "trainer.max_epochs=2"]


@pytest.fixture(scope="session")
def tiny(phantom_2d: Path) -> list[str]:
    """Overrides of a 2D segmentation of half a second."""
    root = [f"dataset.root={phantom_2d}", "dataset.source.patients=12"]
    return ["experiment=segmentation/phantom_2d", *root, *NET, "figures=0", "optimizer.lr=1e-3", "dataset.batch_size=8"]


@pytest.fixture(scope="session")
def tiny_3d(phantom: Path) -> list[str]:
    """Overrides of a 3D segmentation of scans in many orientations and spacings."""
    root = [f"dataset.root={phantom}", "dataset.source.patients=10", "dataset.patch_size=[16,16,16]"]
    return ["experiment=segmentation/phantom", *root, *NET, "trainer.max_epochs=1", "figures=1"]


@pytest.fixture(scope="session")
def trained(tiny: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `start` returned for a run of two epochs; its folder is read only."""
    return start([*tiny, "figures=4", f"run_dir={tmp_path_factory.mktemp('runs') / 'trained'}"])


@pytest.fixture(scope="session")
def trained_3d(tiny_3d: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a 3D run on the scans' own spacings."""
    return Path(start([*tiny_3d, f"run_dir={tmp_path_factory.mktemp('runs') / 'trained_3d'}"])["run_dir"])


@pytest.fixture
def medexp(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`medexp ...` in a process of its own, on one thread."""

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "medexp", *words]
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)

    return call
