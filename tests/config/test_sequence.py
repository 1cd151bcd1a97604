"""Sequences: what does not fit is said when a config is composed, with the reason."""

from __future__ import annotations

import pytest
from layouts.configs import problems

GROWTH, FRAMES, CLASSES = "sequence/phantom_growth_images", "sequence/fmri_next", "sequence/phantom_presence"
STILL = "classification/phantom_presence_2d"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([STILL, "model=sequence_lstm"], "SequenceNet reads studies of several frames, dataset.sequence is null"),
        ([GROWTH, "model=simple_cnn"], "SimpleCNN reads one image, the cases are studies of several frames"),
        ([GROWTH, "model=simple_cnn"], "choose model=sequence_lstm"),
        ([FRAMES, "model=resnet18"], "choose model=sequence_voxels"),
        ([GROWTH, "dataset.sequence=null"], "next_value needs frames to look ahead from, dataset.sequence is null"),
        ([STILL, "task=sequence", "loss=mse"], "learns from 'value_per_frame'; choose a dataset that has it"),
        ([GROWTH, "task=classification_binary", "loss=bce"], "learns from 'class'; choose a dataset that has it"),
        ([GROWTH, "loss=dice"], "DiceLoss compares label maps"),
        ([GROWTH, "inferer=whole"], "WholeImage cuts or pads still images"),
        ([GROWTH, "dataset.sequence.horizon=2"], "dataset.sequence.horizon: 2, but task.horizon is 1"),
        ([GROWTH, "task.out_channels=3"], "task.out_channels: 3, but 1 frames ahead are 1"),
        ([FRAMES, "task.out_channels=2"], "task.out_channels: 2, but 1 frames ahead are 1"),
        (["sequence/timelapse_next", "model=sequence_gru"], "the next frames are [1, 96, 96]; choose model=sequence_voxels"),
        ([CLASSES, "model.values=true"], "have no value a frame"),
        ([CLASSES, "model=sequence_voxels"], "returns (2, 1, 64, 64), but the task needs one value an image"),
    ],
)  # fmt: skip
def test_parts_that_do_not_fit_are_named(words: list[str], said: str) -> None:
    found = problems(f"experiment={words[0]}", *words[1:])
    assert any(said in line for line in found), found


@pytest.mark.parametrize("head", ["rnn", "lstm", "gru", "transformer"])
@pytest.mark.parametrize("experiment", [GROWTH, CLASSES])
def test_every_head_fits_values_and_classes(head: str, experiment: str) -> None:
    assert problems(f"experiment={experiment}", f"model=sequence_{head}") == []


@pytest.mark.parametrize(
    "words",
    [
        [GROWTH, "task.horizon=2"],
        [GROWTH, "model.values=true", "task.change=true"],
        [FRAMES, "task.horizon=3", "dataset.sequence.length=8"],
        [FRAMES, "dataset.in_channels=2"],
    ],
)
def test_horizons_channels_and_values_follow_each_other(words: list[str]) -> None:
    assert problems(f"experiment={words[0]}", *words[1:]) == []
