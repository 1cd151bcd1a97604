"""Two views of one image: what it is to be told by, whatever was done to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from medexp.seeding import derive

FIRST, SECOND = "first", "second"  # keys of the views


class TwoViews:
    """`TwoViews(...)(item, seed)`: item["first"] and item["second"] are the item's image, each changed in its own way; the
    image itself and all other keys stay as they are.

    change: `change(item, seed)`, a medexp.transforms.augmentation.Augmentation; each view is changed with a seed derived
    from `seed`. patch_size: views of a larger image are of its middle: of whole scans in validation, where training sees
    patches; a smaller one is padded by repeating its edge. None: of the whole image.
    """

    def __init__(
        self, change: Callable[[dict[str, Any], int], dict[str, Any]], patch_size: Sequence[int] | None = None
    ) -> None:
        self.change = change
        self.patch_size = None if patch_size is None else tuple(patch_size)

    def __call__(self, item: Mapping[str, Any], seed: int) -> dict[str, Any]:
        """A copy of `item` with both views, float32 (C, *spatial)."""
        image = item["image"].float()  # half precision is for storage
        if self.patch_size is not None:
            image = middle(image, self.patch_size)
        views = {key: self.change({"image": image}, derive(seed, key))["image"] for key in (FIRST, SECOND)}
        return {**item, **views}


def middle(image: Tensor, size: Sequence[int]) -> Tensor:
    """The patch (C, *size) in the middle of an image (C, *spatial)."""
    have = image.shape[1:]
    starts = [max(there - wanted, 0) // 2 for there, wanted in zip(have, size, strict=True)]
    patch = image[(slice(None), *(slice(start, start + wanted) for start, wanted in zip(starts, size, strict=True)))]
    missing = [wanted - there for there, wanted in zip(patch.shape[1:], size, strict=True)]
    if any(missing):
        padding = [side for gap in reversed(missing) for side in (gap // 2, gap - gap // 2)]
        patch = F.pad(patch[None], padding, mode="replicate")[0]
    return patch
