"""Images brought to one size without resampling."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor


def fitted(image: Tensor, size: Sequence[int]) -> Tensor:
    """(B, C, *spatial) cut to `size` around its middle, and filled up with its edge."""
    for axis, wide in enumerate(size, start=2):
        have = image.shape[axis]
        image = image.narrow(axis, max(have - wide, 0) // 2, min(have, wide))
    missing = [wide - have for wide, have in zip(size, image.shape[2:], strict=True)]
    if not any(missing):
        return image
    return F.pad(image, [side for gap in reversed(missing) for side in (gap // 2, gap - gap // 2)], mode="replicate")
