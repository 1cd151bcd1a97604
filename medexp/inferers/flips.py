"""Test-time augmentation by mirroring."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import combinations
from typing import Any

import torch
from monai.inferers import Inferer
from torch import Tensor

from medexp.errors import UserError
from medexp.inferers.parts import Part, parts, sliced, windowed


class FlipEnsemble(Inferer):
    """The mean of the logits over all mirrorings of the spatial `axes` (None: all of them), around any inferer.

    Axes count from 0 and leave out batch and channel. n axes cost 2^n passes. Logits are averaged and not
    probabilities, as nnU-Net does (Isensee et al., Nature Methods 2021): the task's own activation, softmax or sigmoid,
    then applies as to a single pass. Windows are mirrored one by one, as there, and put together once; what another
    inferer takes is mirrored as a whole. An output without spatial axes, (B, K), is averaged without mirroring it back.
    Leave out an axis whose two sides are told apart (left and right kidney).

    Raises UserError for an axis that the image does not have, or one given twice.
    """

    def __init__(self, inferer: Inferer, axes: Sequence[int] | None = None) -> None:
        if axes is not None and (len(set(axes)) != len(axes) or any(axis not in (0, 1, 2) for axis in axes)):
            raise UserError(f"inferer.axes: got {list(axes)}; allowed: null, or different axes among 0, 1, 2")
        self.inferer = inferer
        self.axes = None if axes is None else tuple(axes)

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        """(B, C, *spatial) -> mean logits (B, K, *spatial), or (B, K)."""
        self._check(inputs)
        if windowed(self.inferer):
            scores: Tensor = self.inferer(inputs, partial(self._mean, network), *args, **kwargs)
            return scores
        return self._mean(partial(self.inferer, network=network), inputs, *args, **kwargs)

    def parts(self, inputs: Tensor, network: Callable[..., Tensor]) -> Iterator[Part]:
        """The same in parts; see `medexp.inferers.parts`."""
        self._check(inputs)
        if windowed(self.inferer):
            yield from parts(self.inferer, inputs, partial(self._mean, network))
        else:
            yield from sliced(self(inputs, network))

    def _mean(self, function: Callable[..., Tensor], inputs: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Of `function` over the mirrorings of its input; float32 or finer, whatever precision the network computes in."""
        axes = range(inputs.ndim - 2) if self.axes is None else self.axes
        mirrorings = [dims for count in range(len(axes) + 1) for dims in combinations(axes, count)]
        total: Tensor | None = None
        for mirrored in mirrorings:
            dims = [axis + 2 for axis in mirrored]
            logits = function(inputs.flip(dims) if dims else inputs, *args, **kwargs)
            logits = logits.flip(dims) if dims and logits.ndim == inputs.ndim else logits
            total = logits.to(torch.promote_types(logits.dtype, torch.float32)) if total is None else total + logits
        assert total is not None
        return total / len(mirrorings)

    def _check(self, inputs: Tensor) -> None:
        spatial_dims = inputs.ndim - 2
        if any(axis >= spatial_dims for axis in self.axes or ()):
            allowed = f"allowed for {spatial_dims}D images: 0 to {spatial_dims - 1}"
            raise UserError(f"inferer.axes: got {list(self.axes or ())}; {allowed}")
