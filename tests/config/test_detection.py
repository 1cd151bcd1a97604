"""Parts that do not fit a task of detection fail before anything is read, with the reason."""

from __future__ import annotations

import pytest
from layouts.configs import problems

BOXES, MASKS = "experiment=detection/phantom_2d", "experiment=detection/phantom_masks_2d"


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (["loss=dice_ce"], "loss: monai.losses.DiceCELoss does not compare boxes; choose loss=center_heatmap"),
        (["task.out_channels=1"], "task.out_channels: 1, but 1 classes, 2 sizes and 2 offsets are 5"),
        (["inferer=whole_mirror"], "inferer: mirror images would average offsets of opposite signs"),
        (["augmentation.elastic=0.2"], "augmentation.elastic: boxes are not bent with the image"),
        (["task.least=-1"], "task.least: -1 is no number from 0 to 1; it is a score of objects"),
        (["task.limit=1.5"], "task.limit: 1.5 is no number from 0 to 1; it is a share of two boxes"),
        (["task.most=0"], "task.most: 0 is below 1"),
        (["task.size=0"], "task.size: 0 is not above 0; give voxels of a typical object, or auto"),
        (["dataset=phantom_2d"], "dataset.provides: 'mask', but task=detection learns from 'boxes'"),
        (["model=simple_cnn", "dataset.patch_size=[32,32]"], "but the task needs one value a voxel"),
    ],
)
def test_what_does_not_fit_boxes(overrides: list[str], problem: str) -> None:
    assert any(problem in found for found in problems(BOXES, *overrides)), problems(BOXES, *overrides)


def test_what_does_not_fit_masks_of_objects() -> None:
    assert any("compares boxes, the task has none" in found for found in problems(MASKS, "loss=center_heatmap"))
    assert "task.least: 2 is no number from 0 to 1; it is a score of objects" in problems(MASKS, "task.least=2")
    assert any("learns from 'mask'" in found for found in problems(MASKS, "dataset=phantom_boxes_2d"))


def test_what_fits_has_no_problem() -> None:
    for overrides in (
        [BOXES],
        [MASKS],
        [BOXES, "model=dynunet"],
        [BOXES, "dataset=phantom_lesions_2d", "task=detection"],
    ):
        assert problems(*overrides) == []
    assert problems("experiment=segmentation/phantom_2d", "dataset=phantom_lesions_2d") == []
