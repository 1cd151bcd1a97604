"""Verbs that look at data alone need no task named: one that suits is found, and what is named is kept."""

from __future__ import annotations

import pytest

from medexp.run.suited import suited
from medexp.run.train import plan

SIMPLE = ["model=resnet18", "inferer=simple"]


@pytest.mark.parametrize(
    ("words", "more"),
    [
        (["dataset=mednist"], ["task=classification", "loss=cross_entropy", *SIMPLE]),
        (["dataset=medmnist/chestmnist"], ["task=classification_multilabel", "loss=bce", *SIMPLE]),
        (["dataset=bccd"], ["task=classification_multilabel", "loss=bce", *SIMPLE]),
        (["dataset=mednist", "model=simple_cnn", "loss=focal"], ["task=classification", "inferer=simple"]),
        (["dataset=bccd_boxes"], ["task=detection", "loss=center_heatmap"]),
        (["dataset=msd_spleen"], []),
        (["dataset=mednist", "task=classification"], ["loss=cross_entropy", *SIMPLE]),
        (["dataset=bccd", "task=classification_multilabel", "loss=focal", "model=simple_cnn"], ["inferer=simple"]),
        (
            ["dataset=mednist", "task=pretrain_moco"],
            ["loss=info_nce", "degradation=two_views", "augmentation=none", *SIMPLE],
        ),
        (["experiment=classification/mednist"], []),
        ([], []),
    ],
)
def test_what_is_not_named_is_added(words: list[str], more: list[str]) -> None:
    found = suited(words)
    assert found[: len(words)] == words
    assert sorted(found[len(words) :]) == sorted(more)
    if more:
        assert plan(found)["dataset"]["provides"] == ("boxes" if "task=detection" in more else "class")
