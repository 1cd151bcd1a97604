"""Wrong pairings of diffusion are refused before any data is read."""

from __future__ import annotations

import pytest
from layouts.configs import problems

MEDNIST, PHANTOM = "experiment=diffusion/mednist", "experiment=diffusion/phantom_2d"
RESTORATION = "experiment=diffusion/phantom_super_resolution"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([PHANTOM, "model=unet"], "takes no `timesteps`, the level of the noise; choose model=diffusion_unet"),
        (["experiment=segmentation/phantom_2d", "model=diffusion_unet", "model.num_class_embeds=null"], "which only diffusion has"),
        ([PHANTOM, "loss=dice"], "compares no noise; choose mse, mae or smooth_l1"),
        ([PHANTOM, "task.steps=30"], "task.steps: 30 does not divide task.timesteps (1000)"),
        ([PHANTOM, "task.timesteps=0"], "task.timesteps: 0; give 1 level of noise or more, 1000 are usual"),
        ([RESTORATION, "task.timesteps=-4"], "task.timesteps: -4; give 1 level of noise or more, 1000 are usual"),
        ([MEDNIST, "task.guidance=-1"], "task.guidance: -1 leads away from the class; give 0 or more"),
        ([MEDNIST, "task.drop_class=2"], "task.drop_class: 2 is no share from 0 to below 1"),
        ([MEDNIST, "task.drop_class=1"], "task.drop_class: 1 is no share from 0 to below 1"),
        ([PHANTOM, "task.guidance=2"], "the task has no classes; choose task=diffusion_by_class"),
        ([MEDNIST, "task.guidance=2", "task.drop_class=0"], "which task.drop_class=0 never learns"),
        ([MEDNIST, "task.classes=6"], "task.classes: 6, but 7 are needed"),
        ([MEDNIST, "model.num_class_embeds=6"], "model.num_class_embeds: 6, but task.classes is 7"),
        ([PHANTOM, "task=diffusion_by_class"], "learns from 'class'; choose a dataset that has it"),
        ([PHANTOM, "dataset.image_size=null"], "samples have one size; give dataset.image_size"),
        ([PHANTOM, "dataset.windows=[[40,400]]"], "dataset.windows: images that it makes have no way back"),
        ([PHANTOM, "dataset.image_size=[30,30]"], "model: monai.networks.nets.DiffusionModelUNet cannot take"),
        ([RESTORATION, "degradation=null"], "degradation: null; give one, e.g. degradation=gaussian_noise"),
        ([RESTORATION, "model=diffusion_unet"], "model.in_channels: 1, but"),
        ([RESTORATION, "task.samples=0"], "task.samples: 0; give 1 or more"),
        ([PHANTOM, "degradation=blur"], "only task=translation restores images"),
        ([PHANTOM, "model.out_channels=2"], "model.out_channels: 2, but task.out_channels is 1"),
    ],
)  # fmt: skip
def test_parts_that_do_not_fit_are_refused(words: list[str], message: str) -> None:
    found = problems(*words)
    assert any(message in problem for problem in found), found


@pytest.mark.parametrize(
    "words", [[PHANTOM], [RESTORATION], [MEDNIST, "task.guidance=2"], [PHANTOM, "task.sampler=ddpm", "task.steps=30"]]
)
def test_parts_that_fit_pass(words: list[str]) -> None:
    assert problems(*words) == []
