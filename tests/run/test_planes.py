"""The words beneath figures: planes and units."""

from __future__ import annotations

import numpy as np
import pytest
from monai.transforms import NormalizeIntensity, ScaleIntensity

from medexp.data.preparation.prepare import Preparation
from medexp.run.planes import slice_name, unit
from medexp.transforms.normalize import ClipZScore, ZScore


@pytest.mark.parametrize(
    ("codes", "plane"), [("RAS", "axial"), ("LPI", "axial"), ("ASR", "sagittal"), ("RSP", "coronal")]
)
def test_a_slice_is_named_after_the_plane_of_its_volume(codes: str, plane: str) -> None:
    affine = np.diag([0.0, 0, 0, 1])
    for axis, code in enumerate(codes):
        world = next(place for place, ends in enumerate(("RL", "AP", "SI")) if code in ends)
        affine[world, axis] = -2 if code in "LPI" else 2
    assert slice_name((4, 5, 6), affine, 2) == f"{plane} slice 3 of 6"


def test_a_picture_has_no_slice_and_an_array_without_a_place_no_plane() -> None:
    assert slice_name((4, 5), np.eye(4), 2) == ""
    assert slice_name((4, 5, 6), np.eye(4), 2) == "slice 3 of 6"


@pytest.mark.parametrize(
    ("normalize", "said"),
    [
        (ZScore(), "standard deviations"),
        (ClipZScore([0], [1], [0], [1]), "standard deviations"),
        (NormalizeIntensity(subtrahend=3.0, divisor=2.0), "normalised intensity"),
        (ScaleIntensity(), "normalised intensity"),
        (None, "intensity"),
    ],
)
def test_the_unit_of_an_image_follows_its_normalisation(normalize: object, said: str) -> None:
    assert unit(Preparation(2, 1, normalize=normalize)) == said  # type: ignore[arg-type]


def test_windows_alone_give_shares() -> None:
    assert unit(Preparation(3, 1, windows=[[40, 80]])) == "share of the window"
