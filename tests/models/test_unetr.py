from __future__ import annotations

import pytest

from medexp.errors import UserError
from medexp.models.unetr import UNETR


@pytest.mark.parametrize(
    ("img_size", "words"),
    [
        (None, "one fixed image size: set dataset.patch_size"),
        ([48, 48], "not one size for each of 3 axes"),
        ([48, 48, 40], r"model.img_size: \[48, 48, 40\] is no multiple of the patches \[16, 16, 16\]"),
    ],
)
def test_impossible_sizes_are_named(img_size: list[int] | None, words: str) -> None:
    with pytest.raises(UserError, match=words):
        UNETR(spatial_dims=3, in_channels=1, out_channels=2, img_size=img_size)
