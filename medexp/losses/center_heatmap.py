"""Objects as points: a heat map of their centres a class, and at the centres size and offset (CenterNet, Zhou et al. 2019,
arXiv:1904.07850), in 2D and 3D."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from medexp.boxes import extents, inside, middles
from medexp.errors import UserError

NARROWEST = 0.5  # standard deviation of a Gaussian in voxels: narrower ones would not reach the next voxel
NEAR = 0.3  # height of the Gaussian above which a voxel learns size and offset


class CenterHeatmap(nn.Module):
    """Focal loss of the heat maps, and relative errors of sizes and offsets.

    scores: (B, K + 2 * axes, *spatial): logits of the centres of each class, logarithms of sizes (voxels), offsets from
    the middle of a voxel to the centre (voxels). target: (B, N, 2 * axes + 1): boxes and their class, below 0 where a case
    has fewer than N objects. Scalar, per object (per batch where there is none).

    Heat maps: Gaussians as wide as `spread` of the box along each axis (CornerNet's radius of an overlap of 0.7, Law and
    Deng 2018, is about that; elliptic as in TTFNet, Liu et al. 2020), the highest where they overlap; penalty-reduced focal
    loss with exponents alpha and beta. Size: |log size - log true size|. Offset: |offset - true offset| / true size. Both
    are means over the axes, weighted by the Gaussian where it is above 0.3, since a peak may be found a voxel beside.
    Raises UserError for a negative value.
    """

    def __init__(
        self,
        alpha: float = 2.0,
        beta: float = 4.0,
        size_weight: float = 1.0,
        offset_weight: float = 1.0,
        spread: float = 0.1,
    ) -> None:
        super().__init__()
        given = {"alpha": alpha, "beta": beta, "size_weight": size_weight, "offset_weight": offset_weight}
        for key, value in given.items():
            if value < 0:
                raise UserError(f"loss.{key}: {value} is negative; give 0 or more")
        if spread <= 0:
            raise UserError(f"loss.spread: {spread} is not above 0; give a share of a box, 0.1 is usual")
        self.alpha, self.beta, self.spread = alpha, beta, spread
        self.size_weight, self.offset_weight = size_weight, offset_weight

    def forward(self, scores: Tensor, target: Tensor) -> Tensor:
        axes = scores.ndim - 2
        classes = scores.shape[1] - 2 * axes
        heat = scores.new_zeros(len(scores), classes, *scores.shape[2:])
        found = near_centres(target, scores.shape[2:], self.spread)
        if found is None:
            return self._focal(scores[:, :classes], heat)
        place = found.kinds[..., None] * math.prod(scores.shape[2:]) + found.flat  # (B, N, W)
        heat.flatten(1).scatter_reduce_(1, place.flatten(1), found.height.flatten(1), "amax")
        sizes, offsets = self._errors(scores[:, classes:].flatten(2), found)
        focal = self._focal(scores[:, :classes], heat)
        return focal + self.size_weight * sizes + self.offset_weight * offsets

    def _focal(self, logits: Tensor, heat: Tensor) -> Tensor:
        chance, centre = torch.sigmoid(logits), heat == 1
        hit = (1 - chance) ** self.alpha * logsigmoid(logits)
        miss = (1 - heat) ** self.beta * chance**self.alpha * logsigmoid(-logits)
        return -torch.where(centre, hit, miss).sum() / centre.sum().clamp(min=1)

    def _errors(self, measures: Tensor, found: Near) -> tuple[Tensor, Tensor]:
        """Of sizes and of offsets, from measures (B, 2 * axes, voxels)."""
        axes = found.sizes.shape[-1]
        batch, count, width = found.flat.shape
        index = found.flat.view(batch, 1, -1).expand(-1, 2 * axes, -1)
        said = measures.gather(2, index).view(batch, 2 * axes, count, width).movedim(1, -1)  # (B, N, W, 2 * axes)
        weight = found.height * (found.height > NEAR)
        there = weight.sum(dim=-1, keepdim=True)
        weight = weight / there.clamp(min=1e-6) / (there > 0).sum().clamp(min=1)
        sizes = (said[..., :axes] - found.sizes.log()[:, :, None]).abs().mean(dim=-1)
        offsets = ((said[..., axes:] - found.offsets).abs() / found.sizes[:, :, None]).mean(dim=-1)
        return (sizes * weight).sum(), (offsets * weight).sum()


class Near(NamedTuple):
    """Voxels around the centres of objects. kinds: (B, N), class. flat: (B, N, W), index of each voxel. height: (B, N, W),
    of the object's Gaussian there; 0 outside of the image, and for padding. sizes: (B, N, axes). offsets: (B, N, W, axes),
    from the middle of each voxel to the centre."""

    kinds: Tensor
    flat: Tensor
    height: Tensor
    sizes: Tensor
    offsets: Tensor


def near_centres(target: Tensor, shape: torch.Size, spread: float) -> Near | None:
    """Of target (B, N, 2 * axes + 1) on an image of this shape; None where it has no object."""
    axes = len(shape)
    boxes, kinds = target[..., :-1].float(), target[..., -1].long()
    if not boxes.shape[1]:
        return None
    there = (kinds >= 0) & inside(boxes, shape)
    limits = boxes.new_tensor(list(shape))
    centres, sizes = middles(boxes), extents(boxes).clamp(min=1)
    widths = (spread * sizes).clamp(min=NARROWEST)
    reach = int(torch.ceil(3 * (widths * there[..., None]).max()))
    if not reach:
        return None
    line = torch.arange(-reach, reach + 1, device=boxes.device)
    steps = torch.cartesian_prod(*[line] * axes).view(-1, axes)  # (W, axes)
    voxels = centres.floor().clamp(min=0).minimum(limits - 1)[:, :, None] + steps  # (B, N, W, axes)
    within = ((voxels >= 0) & (voxels < limits)).all(dim=-1) & there[..., None]
    height = torch.exp(-0.5 * (steps / widths[:, :, None]).square().sum(dim=-1)) * within
    whole = voxels.clamp(min=0).minimum(limits - 1).long()
    flat = torch.zeros_like(whole[..., 0])
    for axis, size in enumerate(shape):
        flat = flat * size + whole[..., axis]
    return Near(kinds.clamp(min=0), flat, height, sizes, centres[:, :, None] - (voxels + 0.5))
