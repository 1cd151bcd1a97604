"""torch.compile in whole runs: in two processes that train together, and when such a run goes on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

COMPILED = [
    *("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "dataset.batch_size=4"),
    *("trainer.compile=true", "model.dropout=0.2", "scheduler=constant"),
]


def train(*words: str) -> subprocess.CompletedProcess[str]:
    """`medexp train`, with the time that two compilers may take on a busy machine."""
    command, environment = [sys.executable, "-m", "medexp", "train", *words], {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600, check=False)


def weights(run: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(run / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    return state


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++: torch cannot compile for a CPU here")
def test_two_compiled_ranks_that_go_on_end_as_those_that_never_stopped(tiny: list[str], tmp_path: Path) -> None:
    whole, half = tmp_path / "whole", tmp_path / "half"
    done = [
        train(*tiny, *COMPILED, "trainer.max_epochs=2", f"run_dir={whole}"),
        train(*tiny, *COMPILED, "trainer.max_epochs=1", f"run_dir={half}"),
        train(f"resume={half}", "trainer.max_epochs=2"),
    ]
    for one in done:
        assert one.returncode == 0, one.stderr
        assert "uncompiled" not in one.stdout + one.stderr
    found, expected = weights(half), weights(whole)
    assert found.keys() == expected.keys()
    assert not [name for name in found if "_orig_mod" in name]  # what a compiled module is called inside
    for name, value in expected.items():
        assert torch.equal(found[name], value), name
