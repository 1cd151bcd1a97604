"""Every leaf of conf/metrics, found by glob: builds and takes what its task hands over, a class missing or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor

KINDS = ("segmentation", "classification")  # leaves of other tasks are tried beside their scorers
LEAVES = [
    path
    for path in sorted((Path(__file__).parents[2] / "conf" / "metrics").glob("*.yaml"))
    if path.stem.startswith(KINDS) and path.stem != "classification_ordinal"  # whose scores are K - 1 answers
]


def batch_of(target: str) -> tuple[Tensor, Tensor, int]:
    """Scores, a target in which the last class is missing, and the number of outputs."""
    scores = torch.rand(4, 3, generator=torch.Generator().manual_seed(0))
    if target == "mask":
        return scores[..., None, None].expand(4, 3, 5, 5), torch.zeros(4, 1, 5, 5, dtype=torch.uint8), 3
    if target in ("index", "ordinal"):
        return scores.softmax(1), torch.tensor([0, 1, 1, 0]), 3
    if target == "binary":
        return scores[:, :1], torch.zeros(4, 1, dtype=torch.int), 1
    return scores, torch.tensor([[0, 1, 0]] * 4, dtype=torch.int), 3


def target_of(leaf: Path) -> str:
    suffix = leaf.stem.partition("_")[2]
    return "mask" if leaf.stem == "segmentation" else suffix or "index"


def built(leaf: Path) -> dict[str, Any]:
    target = target_of(leaf)
    classes = ["first", "second"] if target == "binary" else ["first", "second", "third"]
    facts = {"dataset": {"classes": classes}, "task": {"target": target, "out_channels": batch_of(target)[2]}}
    cfg = OmegaConf.create(facts | {"metrics": OmegaConf.load(leaf)})
    node = OmegaConf.to_container(cfg, resolve=True)["metrics"]  # type: ignore[index, call-overload]
    result: dict[str, Any] = instantiate(node, _convert_="all")
    return result


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: leaf.stem)
def test_leaf_is_short_and_its_first_line_says_what_it_is(leaf: Path) -> None:
    lines = leaf.read_text().splitlines()
    assert lines[0].startswith("# ")
    assert len(lines) <= 25


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: leaf.stem)
def test_validation_epoch_that_lacks_a_class_gives_finite_values_without_warnings(leaf: Path) -> None:
    scores, target, _ = batch_of(target_of(leaf))
    for metric in built(leaf)["validation"].values():
        metric.update(scores, target)
        metric.update(scores, target)
        assert 0 <= float(metric.compute()) <= 1


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: leaf.stem)
def test_scorer_takes_what_its_task_predicts(leaf: Path) -> None:
    scorer, target = built(leaf)["test"], target_of(leaf)
    scores, truth, _ = batch_of(target)
    if target == "mask":
        row = scorer.case(scores[0].argmax(0).numpy(), truth[0, 0].numpy(), (1.0, 1.0))
    else:
        row = scorer.case(scores[0].numpy(), np.atleast_1d(truth[0].numpy()), ())
    assert all(entry["n"] <= 1 for entry in scorer.summarize([row]).values())
