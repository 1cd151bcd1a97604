"""Losses and data sets that leave voxels open: what fits, and what is refused before any data is read."""

from __future__ import annotations

import pytest

from medexp.errors import UserError
from medexp.run.train import plan

PARTIAL = "experiment=segmentation/phantom_partial_2d"


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            [PARTIAL, "loss=dice_ce"],
            "loss: monai.losses.DiceCELoss wants a class of every voxel, dataset.annotation leaves",
        ),
        (["experiment=segmentation/phantom_2d", "dataset.ignore=9"], "dataset.ignore leaves some open"),
        ([PARTIAL, "loss.groups=[[liver]]"], "loss.groups: .*leave it to its leaf"),
        (["experiment=classification/phantom_presence_2d", "dataset.ignore=9"], "dataset.ignore: is of label maps"),
        ([PARTIAL, "dataset.annotation.gruops=[]"], "dataset.annotation.gruops: .*did you mean 'groups'"),
    ],
)
def test_what_does_not_fit_is_said(overrides: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        plan(overrides)


@pytest.mark.parametrize(
    "overrides",
    [
        [PARTIAL, "dataset.annotation.absent=background", "loss=dice_ce"],
        [PARTIAL, "dataset.annotation=null"],
        ["experiment=segmentation/phantom_2d", "dataset.ignore=[9,10]", "loss=partial_dice_ce"],
    ],
)
def test_what_fits_is_taken(overrides: list[str]) -> None:
    plan(overrides)
