"""Only the part of an image that holds tissue."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from monai.inferers import Inferer
from torch import Tensor

from medexp.errors import UserError
from medexp.inferers.parts import Part, parts, thin

CERTAIN = 30.0  # logit of the background outside of the box, 0 for all others: in float32 a probability of 1


class ForegroundBox(Inferer):
    """`inferer` on the smallest box that holds all tissue, `margin` voxels around it; the rest is background (class 0).

    above: the intensity, after normalisation, that some channel of tissue lies above; None: tissue is whatever differs
    from the smallest value of its channel, as where the air of a CT is clipped or that around a brain is zero. An image
    with noise in its air needs a number, or nothing is cut off.

    Not exact: windows lie otherwise in the box than in the image, as with another overlap, so that a few voxels change
    their class, and no class but the background is found outside of the box. The box is made as wide as a window, where
    the inferer has them and the image is that wide; the images of a batch share one that holds the tissue of all.

    Raises UserError for a margin below 0, or `above` that is not a number.
    """

    def __init__(self, inferer: Inferer, above: float | None = None, margin: int = 8) -> None:
        number = isinstance(above, int | float) and not isinstance(above, bool) and math.isfinite(above)
        if above is not None and not number:
            raise UserError(f"inferer.above: got {above!r}; allowed: null, or an intensity after normalisation")
        if isinstance(margin, bool) or not isinstance(margin, int) or margin < 0:
            raise UserError(f"inferer.margin: got {margin!r}; allowed: a whole number of voxels, 0 or more")
        self.inferer, self.above, self.margin = inferer, above, margin

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        """(B, C, *spatial) -> logits (B, K, *spatial)."""
        box = self.box(inputs)
        scores: Tensor = self.inferer(inputs[:, :, *box], network, *args, **kwargs)
        if scores.shape[2:] == inputs.shape[2:]:
            return scores
        return _background(scores, box, inputs.shape[2:])

    def parts(self, inputs: Tensor, network: Callable[..., Tensor]) -> Iterator[Part]:
        """The same in parts; see `medexp.inferers.parts`."""
        size, box = inputs.shape[2:], self.box(inputs)
        around = [slice(0, box[0].stop - box[0].start), *box[1:]]  # the first axis is gone through
        for place, first, scores in parts(self.inferer, inputs[:, :, *box], network):
            reached = first + scores.shape[1]
            if first == 0:
                yield from ((place, row, empty) for row, empty in _rows(scores, 0, box[0].start, size))
            around[0] = slice(0, scores.shape[1])
            whole = (scores.shape[1], *size[1:])
            inside = scores if scores.shape[1:] == whole else _background(scores[None], around, whole)[0]
            yield place, box[0].start + first, inside
            if reached == box[0].stop - box[0].start:
                yield from ((place, row, empty) for row, empty in _rows(scores, box[0].stop, size[0], size))

    def box(self, inputs: Tensor) -> list[slice]:
        """Of the tissue of images (B, C, *spatial); the whole image where there is none."""
        axes = range(inputs.ndim - 2)
        lowest = inputs.amin(dim=[axis + 2 for axis in axes], keepdim=True) if self.above is None else self.above
        tissue = (inputs > lowest).flatten(0, 1).any(dim=0)
        window = getattr(self.inferer, "roi_size", None) or 0
        box = []
        for axis, size in enumerate(tissue.shape):
            others = [other for other in axes if other != axis]
            where = torch.nonzero(tissue.any(dim=others) if others else tissue).flatten().tolist() or [0, size - 1]
            start, stop = max(where[0] - self.margin, 0), min(where[-1] + 1 + self.margin, size)
            least = (window[axis] if isinstance(window, Sequence) else window) or 0
            wide = max(stop - start, min(least, size))
            start = min(max(start - (wide - (stop - start)) // 2, 0), size - wide)
            box.append(slice(start, start + wide))
        return box


def _background(scores: Tensor, box: Sequence[slice], size: Sequence[int]) -> Tensor:
    """Scores (B, K, *box) in an image of background (B, K, *size)."""
    whole = scores.new_zeros((*scores.shape[:2], *size))
    whole[:, 0] = CERTAIN
    whole[:, :, *box] = scores
    return whole


def _rows(like: Tensor, start: int, stop: int, size: Sequence[int]) -> Iterator[tuple[int, Tensor]]:
    """Background scores (K, voxels along the first axis, *rest) from `start` to `stop`."""
    for rows in thin(stop - start, len(like) * math.prod(size[1:])):
        empty = like.new_zeros((len(like), rows.stop - rows.start, *size[1:]))
        empty[0] = CERTAIN
        yield start + rows.start, empty
