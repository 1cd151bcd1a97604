"""Two runs, bit by bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch


def checkpoint(run: Path, name: str = "last") -> dict[str, Any]:
    content: dict[str, Any] = torch.load(run / f"checkpoints/{name}.ckpt", weights_only=True)
    return content


def differences(one: Any, other: Any, place: str = "") -> list[str]:
    """Where two checkpoints differ in a bit; the folders that they name may."""
    if isinstance(one, torch.Tensor):
        return [] if isinstance(other, torch.Tensor) and torch.equal(one, other) else [place]
    if isinstance(one, dict):
        if one.keys() != other.keys():
            return [f"{place}: {sorted(one)} and {sorted(other)}"]
        keys = [
            key for key in one if key not in ("dirpath", "best_k_models", "current_score") and "path" not in str(key)
        ]
        return [found for key in keys for found in differences(one[key], other[key], f"{place}/{key}")]
    if isinstance(one, list):
        return [found for left, right in zip(one, other, strict=True) for found in differences(left, right, place)]
    return [] if one == other else [f"{place}: {one} and {other}"]


def same(run: Path, unbroken: Path) -> None:
    """The last and the best checkpoint, the curves, and the results of the test are equal in every bit."""
    assert differences(checkpoint(run), checkpoint(unbroken)) == []
    assert differences(checkpoint(run, "best")["state_dict"], checkpoint(unbroken, "best")["state_dict"]) == []
    assert (run / "metrics.csv").read_text() == (unbroken / "metrics.csv").read_text()
    assert (run / "per_case.csv").read_text() == (unbroken / "per_case.csv").read_text()
