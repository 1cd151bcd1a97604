"""Wrong pairs around measures, grades and several heads fail at compose time, with the reason."""

from __future__ import annotations

import pytest
from layouts.configs import problems

VOLUME, GRADE, HEADS = (
    "experiment=regression/phantom_volume",
    "experiment=classification/phantom_grade",
    "experiment=multitask/phantom",
)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([VOLUME, "loss=dice_ce"], "loss: monai.losses.DiceCELoss does not fit measures; choose loss=mse, mae or smooth_l1"),
        ([VOLUME, "loss=cross_entropy"], "does not fit measures"),
        ([VOLUME, "loss=bce"], "does not fit measures"),
        ([GRADE, "loss=cross_entropy"], "does not fit K - 1 yes-or-no answers; choose loss=bce or focal"),
        ([GRADE, "dataset.classes=[a]"], "dataset.classes: ['a']: two grades or more are needed"),
        ([VOLUME, "dataset=phantom_presence"], "dataset.provides: 'class', but task=regression learns from 'value'"),
        (
            [VOLUME, "dataset=phantom_presence", "dataset.provides=value"],
            "dataset.targets: names no target; give dataset.targets={volume: ml}",
        ),
        ([VOLUME, "dataset.targets.presence=[no,yes]"], "dataset.targets.presence: names classes, the task learns measures"),
        ([VOLUME, "task.out_channels=2"], "task.out_channels: 2, but dataset.targets names 1; leave it to its leaf"),
        ([VOLUME, "dataset.patch_size=[16,16,16]"], "a target is of the whole image; set dataset.patch_size=null"),
        ([VOLUME, "dataset.image_size=null"], "dataset.resize: false pads or cuts to dataset.image_size, which is not given"),
        ([VOLUME, "model=unet", "dataset.image_size=[40,40,32]"], "one value an image"),
        ([VOLUME, "model.spatial_dims=2"], "model.spatial_dims: 2, but dataset.spatial_dims is 3"),
        (["experiment=regression/hippocampus_volume", "dataset.resize=true"], "makes images of one size, which hides hippocampus"),
        ([HEADS, "model=unet"], "with 6 channels, 2 of them of heads, is needed; choose model=unet_heads"),
        ([HEADS, "model=simple_cnn"], "choose model=unet_heads"),
        ([HEADS, "dataset=phantom_presence_2d"], "dataset.provides: 'class', but task=multitask learns from 'mask'"),
        (["experiment=segmentation/phantom_2d", "model=unet_heads", "dataset.targets={volume: ml}"], "but task.out_channels is 4"),
    ],
)  # fmt: skip
def test_a_wrong_pair_says_why(overrides: list[str], message: str) -> None:
    found = problems(*overrides)
    assert any(message in problem for problem in found), found


@pytest.mark.parametrize(
    "overrides",
    [
        [VOLUME, "loss=mae"],
        [VOLUME, "loss=smooth_l1", "task.log=true"],
        [VOLUME, "model=resnet18"],
        [GRADE, "loss=focal", "task.coral=true"],
        [HEADS, "model=dynunet_heads", "task.uncertainty=true", "task.weights={map: 2}"],
        [HEADS, "loss=cross_entropy"],
    ],
)
def test_what_fits_passes(overrides: list[str]) -> None:
    assert problems(*overrides) == []
