"""Images spoilt on purpose, which a network without labels learns to restore: what it must know of anatomy for that stays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from monai.transforms import RandCoarseDropout, RandCoarseShuffle, RandHistogramShift
from torch import Tensor

from medexp.errors import UserError
from medexp.transforms.bounds import interval
from medexp.transforms.degradation import REFERENCE

HIDDEN = "hidden"  # key of the voxels that a loss is of, where not of all


class Corruption:
    """`Corruption(...)(item, seed)`: item["reference"] is the item's image, item["image"] what became of it; float (C,
    *spatial). Every draw comes from `seed`. Probabilities are 0..1, 0 is off. In order (Models Genesis: Zhou et al. 2021,
    doi:10.1016/j.media.2020.101840; masks: He et al. 2022, arXiv:2111.06377, Xie et al. 2022, arXiv:2111.09886):

    - intensity: a random curve that keeps the order of grey values and their range, through
      `control_points` = [least, most] points.
    - shuffle: voxels trade places within `blocks` small boxes of up to `block` voxels an axis.
    - paint: of these either `holes` boxes are filled (in-painting), or all but such boxes (out-painting, in one of five), with
      one value each time; a box has `hole` = [least, most] of each axis as a share.
    - masked: this share of the patches of a grid of `patch` voxels an axis becomes 0, the mean of a standardised image, and
      item["hidden"], bool (1, *spatial), tells where: what is shown is in no loss.
    """

    def __init__(
        self,
        intensity: float = 0.0,
        control_points: Sequence[int] = (4, 8),
        shuffle: float = 0.0,
        blocks: int = 30,
        block: int = 5,
        paint: float = 0.0,
        holes: int = 5,
        hole: Sequence[float] = (0.15, 0.35),
        masked: float = 0.0,
        patch: int = 8,
    ) -> None:
        for key, value in {"intensity": intensity, "shuffle": shuffle, "paint": paint}.items():
            if not 0 <= value <= 1:
                raise UserError(f"degradation.{key}: {value} is no probability; give 0 (off) to 1")
        if not 0 <= masked < 1:
            raise UserError(f"degradation.masked: {masked} is not from 0 to below 1; 0.6 is usual")
        for key, count in {"blocks": blocks, "block": block, "holes": holes, "patch": patch}.items():
            if count < 1:
                raise UserError(f"degradation.{key}: {count} is less than 1")
        if not (intensity or shuffle or paint or masked):
            raise UserError("degradation: nothing is spoilt; give intensity, shuffle, paint or masked")
        self.intensity, self.shuffle, self.paint, self.masked = intensity, shuffle, paint, masked
        least, most = interval("control_points", control_points, 3, 100, "degradation")
        self.control_points = (int(least), int(most))
        self.blocks, self.block, self.holes, self.patch = blocks, block, holes, patch
        self.hole = interval("hole", hole, 0.01, 0.9, "degradation")

    def __call__(self, item: Mapping[str, Any], seed: int) -> dict[str, Any]:
        """A copy of `item` with both images."""
        image, random = item["image"].float(), np.random.RandomState(seed)
        spoilt = self.spoilt(image, random)
        if not self.masked:
            return {**item, "image": spoilt, REFERENCE: image}
        hidden = self._patches(image.shape[1:], random)
        return {**item, "image": spoilt.masked_fill(hidden, 0.0), REFERENCE: image, HIDDEN: hidden}

    def spoilt(self, image: Tensor, random: np.random.RandomState) -> Tensor:
        """(C, *spatial), changed by all but the mask."""
        shape = image.shape[1:]
        changes: list[Any] = []
        if random.rand() < self.intensity:
            changes.append(RandHistogramShift(self.control_points, prob=1.0))
        if random.rand() < self.shuffle:
            size = [min(self.block, axis) for axis in shape]
            changes.append(RandCoarseShuffle(self.blocks, [1] * len(shape), max_spatial_size=size, prob=1.0))
        if random.rand() < self.paint:
            changes.append(self._painting(shape, random, float(random.uniform(*_range(image)))))
        found = image.clone()  # MONAI's holes and shuffles write into what they are given
        for change in changes:
            change.set_random_state(state=random)
            found = torch.as_tensor(change(found))
        found = found.as_tensor() if hasattr(found, "as_tensor") else found  # a plain tensor, as datasets hold it
        return found.float().contiguous()

    def _painting(self, shape: Sequence[int], random: np.random.RandomState, value: float) -> RandCoarseDropout:
        least, most = ([max(round(share * axis), 1) for axis in shape] for share in self.hole)
        outside = random.rand() < 0.2
        if outside:  # what stays is to be most of an axis
            least, most = [-(-axis // 2) for axis in shape], [max(round(0.8 * axis), -(-axis // 2)) for axis in shape]
        return RandCoarseDropout(
            self.holes, least, dropout_holes=not outside, fill_value=value, max_spatial_size=most, prob=1.0
        )

    def _patches(self, shape: Sequence[int], random: np.random.RandomState) -> Tensor:
        """Which voxels are hidden: bool (1, *spatial)."""
        grid = [-(-axis // self.patch) for axis in shape]
        count = int(np.prod(grid))
        hidden = torch.zeros(count)
        hidden[torch.from_numpy(random.permutation(count)[: max(round(self.masked * count), 1)])] = 1
        fine = F.interpolate(hidden.view(1, 1, *grid), scale_factor=float(self.patch), mode="nearest")[0]
        return fine[(slice(None), *(slice(0, axis) for axis in shape))] > 0


def _range(image: Tensor) -> tuple[float, float]:
    return float(image.min()), float(image.max())
