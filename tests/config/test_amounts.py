"""Numbers below the least that they can mean are named before a network is tried with them."""

from __future__ import annotations

import pytest
from layouts.configs import problems

PHANTOM, DIFFUSION = "experiment=segmentation/phantom_2d", "experiment=diffusion/phantom_2d"


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ([PHANTOM, "dataset.in_channels=-1"], "dataset.in_channels: -1 is below 1; give 1 or more"),
        (
            [PHANTOM, "dataset.patch_size=[-1,64]"],
            "dataset.patch_size: [-1, 64] is below 1; give 1 or more along each axis",
        ),
        (
            [DIFFUSION, "dataset.image_size=[0,0]"],
            "dataset.image_size: [0, 0] is below 1; give 1 or more along each axis",
        ),
        (
            [PHANTOM, "inferer=whole_by_8", "inferer.divisible_by=-1"],
            "inferer.divisible_by: -1 is below 1; give 1 or more",
        ),
        (
            [PHANTOM, "inferer=whole_by_8_mirror", "inferer.inferer.divisible_by=0"],
            "inferer.inferer.divisible_by: 0 is below 1; give 1 or more",
        ),
        (
            [PHANTOM, "trainer.accumulate_grad_batches=0"],
            "trainer.accumulate_grad_batches: 0 is below 1; give 1 or more",
        ),
        ([PHANTOM, "trainer.gradient_clip_val=-1"], "trainer.gradient_clip_val: -1 is below 0; give 0 or more"),
        (["experiment=sequence/phantom_growth", "task.horizon=0"], "task.horizon: 0 is below 1; give 1 or more"),
        ([PHANTOM, "task.l1=-0.1"], "task.l1: -0.1 is below 0; give 0 or more"),
        ([PHANTOM, "scheduler.schedule.eta_min=-1"], "scheduler.schedule.eta_min: -1 is below 0; give 0 or more"),
        ([PHANTOM, "optimizer.lr=-1"], "optimizer.lr: -1 is below 0; give 0 or more"),
        (
            ["experiment=gan/phantom_2d", "task.discriminator_optimizer.lr=-1"],
            "task.discriminator_optimizer.lr: -1 is below 0; give 0 or more",
        ),
        (
            [DIFFUSION, "task.spatial_dims=3"],
            "task.spatial_dims: 3, but dataset.spatial_dims is 2; leave task.spatial_dims to its leaf (${dataset.spatial_dims})",
        ),
    ],
)
def test_a_number_below_the_least_is_named_with_its_key(words: list[str], found: str) -> None:
    assert problems(*words) == [found]
