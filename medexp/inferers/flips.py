"""Test-time augmentation by mirroring."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import torch
from monai.inferers import Inferer

from medexp.errors import UserError


class FlipEnsemble(Inferer):
    """The mean of the logits over all mirrorings of the spatial `axes` (None: all of them), around any inferer.

    Axes count from 0 and leave out batch and channel. n axes cost 2^n passes. Logits are averaged and not
    probabilities, as nnU-Net does (Isensee et al., Nature Methods 2021): the task's own activation, softmax or sigmoid,
    then applies as to a single pass. An output without spatial axes, (B, K), is averaged without mirroring it back.
    Leave out an axis whose two sides are told apart (left and right kidney).

    Raises UserError for an axis that the image does not have, or one given twice.
    """

    def __init__(self, inferer: Inferer, axes: Sequence[int] | None = None) -> None:
        if axes is not None and (len(set(axes)) != len(axes) or any(axis not in (0, 1, 2) for axis in axes)):
            raise UserError(f"inferer.axes: got {list(axes)}; allowed: null, or different axes among 0, 1, 2")
        self.inferer = inferer
        self.axes = None if axes is None else tuple(axes)

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., torch.Tensor], *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        """(B, C, *spatial) -> mean logits (B, K, *spatial), or (B, K)."""
        spatial_dims = inputs.ndim - 2
        axes = tuple(range(spatial_dims)) if self.axes is None else self.axes
        if any(axis >= spatial_dims for axis in axes):
            raise UserError(
                f"inferer.axes: got {list(axes)}; allowed for {spatial_dims}D images: 0 to {spatial_dims - 1}"
            )
        total = self.inferer(inputs, network, *args, **kwargs)
        mirrorings = [dims for count in range(1, len(axes) + 1) for dims in combinations(axes, count)]
        for mirrored in mirrorings:
            dims = [axis + 2 for axis in mirrored]
            logits = self.inferer(inputs.flip(dims), network, *args, **kwargs)
            total = total + (logits.flip(dims) if logits.ndim == inputs.ndim else logits)
        return total / (len(mirrorings) + 1)
