"""Slabs and made-up cases where they cannot be had: said at compose time."""

from __future__ import annotations

import pytest
from layouts.configs import problems

SLABS = "+dataset.slabs={_target_: medexp.data.slabs.Slabs}"
MADE_UP = "dataset.synthetic={root: x, share: 0.3}"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["experiment=translation/phantom_denoising", "dataset=phantom_2d", SLABS], "dataset.slabs: are of volumes"),
        (["experiment=segmentation/phantom_slices", SLABS], "dataset.slabs: cannot be had with dataset.plane"),
        (["experiment=segmentation/phantom", MADE_UP], "holds images and a class each, but task.target is 'mask'"),
        (["experiment=classification/phantom_covariates", MADE_UP], "cannot be had with dataset.covariates"),
        (["experiment=translation/ljubljana_t1_to_flair", MADE_UP], "no other modality to learn"),
        (["experiment=translation/phantom_denoising", "dataset.missing=zero"], "would make empty references"),
    ],
)
def test_what_cannot_be_had_together_is_said(words: list[str], message: str) -> None:
    assert any(message in problem for problem in problems(*words))


def test_what_can_be_had_passes() -> None:
    assert problems("experiment=classification/phantom_presence_2d", MADE_UP) == []
