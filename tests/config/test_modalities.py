from __future__ import annotations

import pytest
from layouts.configs import problems

EARLY = "experiment=segmentation/phantom_two_modalities"
LATE = "experiment=classification/phantom_late_fusion"
TOLD = "experiment=classification/phantom_covariates"
FLAT = "experiment=classification/phantom_presence_2d"


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (
            [EARLY, "dataset.missing=error"],
            "augmentation.modality_dropout: 0.3 trains for cases that lack a modality; set dataset.missing=zero, which lets "
            "them in, or set it to 0",
        ),
        (
            ["experiment=segmentation/phantom", "augmentation.modality_dropout=0.5"],
            "augmentation.modality_dropout: 0.5, but dataset.in_channels is 1: nothing would be left; set it to 0",
        ),
        (
            ["experiment=segmentation/phantom_25d", "augmentation.modality_dropout=0.5"],
            "augmentation.modality_dropout: 0.5, but channels are neighbouring slices (dataset.neighbours); set it to 0",
        ),
        (
            [TOLD, "dataset.covariates=[]"],
            "model: medexp.models.with_covariates.WithCovariates joins images with covariates, dataset.covariates names none; "
            "name columns of its table: dataset.covariates=[age,sex], or choose another model",
        ),
        (
            [FLAT, "model=late_fusion"],
            "model: medexp.models.fusion.Fusion fuses modalities, dataset.in_channels is 1; choose another model",
        ),
        (
            [LATE, "model@model.net=unet"],
            "model: medexp.models.fusion.Fusion returns (2, 1, 64, 64), but the task needs one value an image; choose another "
            "model",
        ),
    ],
)
def test_what_does_not_fit_is_said(overrides: list[str], problem: str) -> None:
    assert problems(*overrides) == [problem]


@pytest.mark.parametrize(
    "overrides",
    [
        [EARLY],
        [EARLY, "model=late_fusion_unet"],
        [EARLY, "model=attention_fusion_unet", "model@model.net=dynunet"],
        [LATE, "model@model.net=resnet18"],
        [TOLD, "model@model.net=resnet18"],
        [TOLD, "model=simple_cnn"],  # covariates are there, and not used
    ],
)
def test_any_network_can_be_a_part(overrides: list[str]) -> None:
    assert not problems(*overrides)


def test_a_mistake_in_a_part_is_found() -> None:
    (problem,) = problems(LATE, "model.net.hiden=3")
    assert problem.startswith(
        "model.net.hiden: medexp.models.simple_cnn.SimpleCNN has no such argument; did you mean 'hidden'?"
    )
