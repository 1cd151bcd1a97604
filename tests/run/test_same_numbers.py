"""Options that trade time for memory or place: a whole run with one of them gives the numbers of the run without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medexp.run.train import start


@pytest.mark.parametrize("option", ["dataset.augment_on_device", "trainer.activation_checkpointing"])
def test_metrics_are_those_without_it(option: str, trained: dict[str, Any], tiny: list[str], tmp_path: Path) -> None:
    found = start([*tiny, f"{option}=true", f"run_dir={tmp_path / 'run'}"])
    assert found["metrics"] == trained["metrics"]
    tables = [(Path(run["run_dir"]) / "metrics.csv").read_bytes() for run in (found, trained)]
    assert tables[0] == tables[1]
