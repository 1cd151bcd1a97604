"""Cases through the network: what is handed on in parts is what all scores at once would have said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medexp import build
from medexp.data.cases import collate
from medexp.inferers import parts
from medexp.run import folder
from medexp.run.inference import Outcome, infer

WINDOWS = {
    "_target_": "monai.inferers.SlidingWindowInferer",
    **{"roi_size": [16, 16, 16], "sw_batch_size": 3, "overlap": 0.5, "mode": "gaussian"},
}
INFERERS: dict[str, dict[str, Any]] = {
    "whole": {"_target_": "medexp.inferers.whole.WholeImage", "divisible_by": 2},
    "windows": WINDOWS,
    "mirrored": {"_target_": "medexp.inferers.flips.FlipEnsemble", "inferer": WINDOWS, "axes": [0]},
    "foreground": {
        "_target_": "medexp.inferers.foreground.ForegroundBox",
        "inferer": WINDOWS,
        "above": 1.0,
        "margin": 1,
    },
}


def outcomes(cfg: dict[str, Any], run: Path, labelled: bool) -> tuple[Any, Any, list[Outcome]]:
    data, task = build.datamodule(cfg), build.task(cfg)
    build.load_weights(task, run / folder.BEST)
    found: list[Outcome] = []
    infer(cfg, task, data, data.records()[:3], found.append, labelled=labelled)
    return data, task.eval(), found


@pytest.mark.parametrize("spacing", [None, [4.0, 3.0, 4.0]])
@pytest.mark.parametrize("name", INFERERS)
def test_class_maps_are_those_of_all_probabilities_at_once(
    monkeypatch: pytest.MonkeyPatch, trained_3d: Path, name: str, spacing: list[float] | None
) -> None:
    monkeypatch.setattr(parts, "AT_ONCE", 20_000)
    cfg = folder.load(trained_3d)
    cfg["inferer"], cfg["dataset"]["spacing"] = INFERERS[name], spacing
    data, task, found = outcomes(cfg, trained_3d, labelled=True)
    assert len(found) == 3
    for outcome in found:
        with torch.inference_mode():
            whole = task.predict_step(collate([{"image": outcome.prepared.image}]), 0)[0]
        np.testing.assert_array_equal(outcome.predicted, whole.argmax(dim=0).numpy())
        np.testing.assert_array_equal(outcome.labels, data.preparation.labels_on_source(whole, outcome.prepared))
        assert outcome.scores is None


def test_images_of_a_batch_are_told_apart(trained_3d: Path) -> None:
    cfg = folder.load(trained_3d)
    cfg["inferer"], cfg["dataset"]["spacing"] = WINDOWS, None
    cfg["dataset"] |= {"image_size": [24, 20, 18], "batch_size": 1}
    alone = [outcome.labels for outcome in outcomes(cfg, trained_3d, labelled=False)[2]]
    cfg["dataset"]["batch_size"] = 2
    together = outcomes(cfg, trained_3d, labelled=False)[2]
    assert len(alone) == len(together) == 3
    for one, other in zip(alone, together, strict=True):
        assert (one != other.labels).mean() < 1e-3  # windows of two images in one batch: sums in another order
        assert other.predicted is None


def test_the_precision_is_that_of_the_run(monkeypatch: pytest.MonkeyPatch, trained_3d: Path) -> None:
    cfg, seen = folder.load(trained_3d), []
    cfg["inferer"], cfg["trainer"]["precision"] = WINDOWS, "bf16-mixed"
    true = torch.nn.functional.conv3d

    def conv3d(image: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        made = true(image, *args, **kwargs)
        seen.append(made.dtype)
        return made

    monkeypatch.setattr(torch.nn.functional, "conv3d", conv3d)
    outcomes(cfg, trained_3d, labelled=False)
    assert set(seen) == {torch.bfloat16}
