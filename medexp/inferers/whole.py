"""One pass over the whole image, whatever its size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.inferers import Inferer
from torch.nn.functional import pad

from medexp.errors import UserError


class WholeImage(Inferer):
    """Pads each spatial axis to `at_least` and to a multiple of `divisible_by`, runs the network once and crops back.

    A U-Net halves its input several times, and needs sizes divisible by the product of its strides. The padding is
    shared by both ends and repeats the edge: where that is background, it goes on as background. Zeros, the mean of a
    standardised image, would put a slab of grey beside it, and reflection fails for pads as wide as the image.

    at_least: the patch size of the training, to which smaller images are padded there: a network with instance norm that
    learnt beside a frame expects one. None: any size.

    Raises UserError for `divisible_by` below 1, an image of other axes than `at_least`, or a network whose output has no such spatial axes.
    """

    def __init__(self, divisible_by: int = 32, at_least: Sequence[int] | None = None) -> None:
        if isinstance(divisible_by, bool) or not isinstance(divisible_by, int) or divisible_by < 1:
            raise UserError(f"inferer.divisible_by: got {divisible_by!r}; allowed: a whole number of at least 1")
        self.divisible_by, self.at_least = divisible_by, at_least

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., torch.Tensor], *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        """(B, C, *spatial) -> logits (B, K, *spatial)."""
        spatial = inputs.shape[2:]
        missing = [self._padded(size, least) - size for size, least in zip(spatial, self._least(spatial), strict=True)]
        before = [count // 2 for count in missing]
        # torch lists the last axis first, each as (before, after)
        widths = [width for low, all_ in zip(before[::-1], missing[::-1], strict=True) for width in (low, all_ - low)]
        padded = pad(inputs, widths, mode="replicate") if any(missing) else inputs
        logits = network(padded, *args, **kwargs)
        if logits.shape[2:] != padded.shape[2:]:
            raise UserError(
                f"inferer: the network turned {tuple(padded.shape)} into {tuple(logits.shape)}, which is not a value a "
                "voxel; use inferer=simple for a network without spatial output"
            )
        for axis, (low, size) in enumerate(zip(before, spatial, strict=True), start=2):
            logits = logits.narrow(axis, low, size)
        return logits

    def _least(self, spatial: Sequence[int]) -> Sequence[int]:
        if self.at_least is None:
            return spatial
        if len(self.at_least) != len(spatial):
            raise UserError(
                f"inferer.at_least: {list(self.at_least)} for an image of {len(spatial)} axes; give one each"
            )
        return self.at_least

    def _padded(self, size: int, least: int) -> int:
        """The next multiple of `divisible_by`."""
        return -(-max(size, least) // self.divisible_by) * self.divisible_by
