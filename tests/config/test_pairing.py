"""Whether the chosen parts fit each other."""

from __future__ import annotations

import pytest
import torch
from layouts.configs import problems

from medexp.config.compose import compose, resolve
from medexp.config.pairing import logged

MEDNIST = "experiment=classification/mednist"


def test_what_is_logged_is_the_losses_and_the_validation_metrics() -> None:
    assert logged(resolve(compose(["run_dir=run"]))) == ["train/loss", "val/loss", "val/dice"]


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (
            ["monitor=val/dise"],
            "monitor: 'val/dise' is not logged; did you mean 'val/dice' or 'val/loss'? logged: train/loss, val/loss, val/dice",
        ),
        (
            ["callbacks=early_stopping", "callbacks.early_stopping.monitor=val/f1"],
            "callbacks.early_stopping.monitor: 'val/f1' is not logged; logged: train/loss, val/loss, val/dice",
        ),
        (
            ["model.spatial_dims=2"],
            "model.spatial_dims: 2, but dataset.spatial_dims is 3; leave model.spatial_dims to its leaf (${dataset.spatial_dims})",
        ),
        (["dataset=phantom_2d", "model.spatial_dims=3"], "model.spatial_dims: 3, but dataset.spatial_dims is 2"),
        (["model.in_channels=3"], "model.in_channels: 3, but dataset.in_channels is 1"),
        (["model.out_channels=7"], "model.out_channels: 7, but task.out_channels is 4"),
        (["task.out_channels=7"], "task.out_channels: 7, but dataset.classes asks for 4"),
        (
            ["dataset.patch_size=[32,16]"],
            "dataset.patch_size: [32, 16] has 2 axes, but dataset.spatial_dims is 3; give 3 numbers "
            "(dataset.patch_size=[32,16,16]), or dataset.spatial_dims=2",
        ),
        (
            [MEDNIST, "dataset.image_size=[64,64,64]"],
            "dataset.image_size: [64, 64, 64] has 3 axes, but dataset.spatial_dims is 2; give 2 numbers "
            "(dataset.image_size=[64,64]), or dataset.spatial_dims=3",
        ),
        (
            ["trainer.max_epochs=3", "trainer.check_val_every_n_epoch=10"],
            "trainer.max_epochs: 3 ends before the first validation (trainer.check_val_every_n_epoch: 10); give "
            "trainer.check_val_every_n_epoch=1",
        ),
        ([MEDNIST, "dataset=phantom"], "dataset.provides: 'mask', but task=classification learns from 'class'"),
        (["dataset=phantom_presence"], "dataset.provides: 'class', but task=segmentation learns from 'mask'"),
        ([MEDNIST, "loss=dice"], "loss: monai.losses.DiceLoss compares label maps"),
        ([MEDNIST, "loss=tversky"], "loss: monai.losses.TverskyLoss compares label maps"),
        (
            ["model=unetr", "dataset.patch_size=[40,40,40]"],
            "model: medexp.models.unetr.UNETR cannot take an image of 1 x [40, 40, 40]",
        ),
        (
            ["model=swin_unetr", "dataset.patch_size=[40,40,40]"],
            "model: monai.networks.nets.SwinUNETR cannot take an image of 1 x [40, 40",
        ),
        (
            ["model=unet", "dataset.patch_size=[44,44,44]"],
            "model: monai.networks.nets.UNet cannot take an image of 1 x [44, 44, 44]",
        ),
        (["model=resnet18"], "model: monai.networks.nets.ResNet returns (2, 4), but the task needs one value a voxel"),
        (
            [MEDNIST, "model=unet"],
            "model: monai.networks.nets.UNet returns (2, 6, 64, 64), but the task needs one value an image",
        ),
        (
            [MEDNIST, "model=vit", "dataset.image_size=[60,60]"],
            "model: medexp.models.vit.ViT cannot take an image of 1 x [60, 60]",
        ),
    ],
)
def test_parts_that_do_not_fit_are_named(overrides: list[str], problem: str) -> None:
    found = problems(*overrides)
    assert len(found) == 1, found
    assert found[0].startswith(problem)


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (
            ["model=unetr", "dataset.patch_size=[40,40,40]"],
            "[40, 40, 40] is no multiple of the patches [16, 16, 16]; change dataset.patch_size",
        ),
        (["model=swin_unetr", "dataset.patch_size=[40,40,40]"], "must be divisible by 2**5"),
    ],
)
def test_the_networks_own_reason_is_handed_on(overrides: list[str], reason: str) -> None:
    (problem,) = problems(*overrides)
    assert reason in problem


@pytest.mark.parametrize(
    "overrides",
    [
        ["model=unetr", "inferer=sliding_window", "dataset.patch_size=[32,48,16]"],
        ["model=swin_unetr", "inferer=sliding_window", "dataset.patch_size=[64,64,32]"],
    ],
)
def test_a_patch_that_fits_is_taken(overrides: list[str]) -> None:
    assert problems(*overrides) == []


def test_a_stride_that_shrinks_the_map_is_found() -> None:
    (problem,) = problems(
        "model._target_=torch.nn.Conv3d",
        *(f"~model.{key}" for key in ("spatial_dims", "channels", "strides", "num_res_units", "dropout")),
        *("model.kernel_size=2", "model.stride=2"),
    )
    assert problem == (
        "model: torch.nn.Conv3d returns a map of [24, 24, 16] for an image of [48, 48, 32]; "
        "choose a dataset.patch_size that its strides divide"
    )


def test_trying_the_network_draws_no_random_number() -> None:
    before = torch.random.get_rng_state()
    assert problems("model=swin_unetr", "dataset.patch_size=[64,64,64]") == []
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_gpu_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (problem,) = problems("trainer=gpu")
    assert problem == "trainer.accelerator: 'gpu', but torch sees no CUDA GPU here; use trainer=cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert problems("trainer=gpu") == []


def test_padding_that_the_strides_do_not_divide_is_refused_before_training() -> None:
    (problem,) = problems("experiment=segmentation/phantom", "inferer.divisible_by=3")
    assert problem.startswith("inferer.divisible_by: 3 does not suit monai.networks.nets.UNet (")


def test_an_inferer_of_whole_images_does_not_suit_a_classifier() -> None:
    (problem,) = problems("experiment=classification/phantom_presence", "inferer=whole")
    assert "use inferer=simple" in problem
