"""Multiple-instance learning: a class of a bag from its instances, which have none; slices, patches, or scans of a study."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medexp.errors import UserError
from medexp.models.parts import part

Pooling = Literal["attention", "mean", "max"]


class Bag(nn.Module):
    """Features (B, N, F) of instances to scores (B, K) of their bag, and how much each instance counts for them.

    pooling: "attention", gated (Ilse 2018, arXiv:1802.04712, eq. 9): a_k is the softmax over the instances of
    w . (tanh(V h_k) * sigmoid(U h_k)); "mean"; "max" of each feature, where an instance counts by the share of the features
    whose largest value it has (several that have it share it). hidden: width of the attention. Neither cares for the order of instances.
    """

    def __init__(
        self, features: int, out_channels: int, pooling: Pooling = "attention", hidden: int = 64, dropout: float = 0.0
    ) -> None:
        super().__init__()
        if pooling not in ("attention", "mean", "max"):
            raise UserError(f"model.pooling: '{pooling}'; allowed: attention, mean, max")
        self.pooling = pooling
        gated = pooling == "attention"
        self.content = nn.Sequential(nn.Linear(features, hidden), nn.Tanh()) if gated else None
        self.gate = nn.Sequential(nn.Linear(features, hidden), nn.Sigmoid()) if gated else None
        self.weigh = nn.Linear(hidden, 1, bias=False) if gated else None
        self.dropout = nn.Dropout(dropout)
        self.scores = nn.Linear(features, out_channels)

    def forward(self, features: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        """there: (B, N), false for what is no instance. Returns scores and weights (B, N), 0 there and 1 in sum."""
        lowest = torch.finfo(features.dtype).min
        if self.pooling == "max":
            known = features.masked_fill(~there[..., None], lowest)
            top = known.amax(dim=1)  # (B, F)
            having = ((known == top[:, None]) & there[..., None]).float()
            return self.scores(self.dropout(top)), (having / having.sum(dim=1, keepdim=True)).mean(dim=2)
        weights = self._weights(features, there)
        pooled = (weights[..., None] * features.masked_fill(~there[..., None], 0)).sum(dim=1)
        return self.scores(self.dropout(pooled)), weights

    def _weights(self, features: Tensor, there: Tensor) -> Tensor:
        if self.content is None or self.gate is None or self.weigh is None:
            return there.float() / there.sum(dim=1, keepdim=True)
        logits = self.weigh(self.content(features) * self.gate(features))[..., 0].float()
        return logits.masked_fill(~there, -torch.inf).softmax(dim=1)


class MultipleInstance(nn.Module):
    """An image (B, C, *spatial) as a bag: its instances through one network `net`, their features through a `Bag`.

    net: any classifier (a class with its other arguments), which gives `features` of an instance. instances: "slices" of a
    volume, along its last axis (axial, where dataset.orientation is RAS), for a network of two dimensions; or "patches" of
    `patch_size`, without overlap, the image padded with its edge to whole patches. Raises UserError for other values.
    """

    def __init__(
        self,
        net: Callable[..., nn.Module],
        in_channels: int,
        out_channels: int,
        features: int = 64,
        instances: Literal["slices", "patches"] = "slices",
        patch_size: Sequence[int] | None = None,
        pooling: Pooling = "attention",
        hidden: int = 64,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if instances not in ("slices", "patches"):
            raise UserError(f"model.instances: '{instances}'; allowed: slices, patches")
        if (patch_size is None) == (instances == "patches"):
            wanted = "patches need one" if patch_size is None else "slices have none; set it to null"
            raise UserError(f"model.patch_size: {patch_size}, but instances={instances}: {wanted}")
        self.net = part(net, in_channels, features)
        self.patch_size = None if patch_size is None else tuple(patch_size)
        self.pool = Bag(features, out_channels, pooling, hidden, dropout)

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, *spatial) to scores (B, K)."""
        return self._pooled(image)[0]

    def attention(self, image: Tensor) -> Tensor:
        """How much each instance counts for its bag, (B, N)."""
        return self._pooled(image)[1]

    def _pooled(self, image: Tensor) -> tuple[Tensor, Tensor]:
        bag = self.bag(image)  # (B, N, C, *instance)
        features = self.net(bag.flatten(0, 1)).unflatten(0, bag.shape[:2]).relu()
        there = torch.ones(bag.shape[:2], dtype=torch.bool, device=image.device)
        pooled: tuple[Tensor, Tensor] = self.pool(features, there)
        return pooled

    def bag(self, image: Tensor) -> Tensor:
        """(B, C, *spatial) to instances (B, N, C, *instance)."""
        if self.patch_size is None:
            if image.ndim != 5:
                raise UserError(f"model.instances: slices are of volumes, the image is {image.ndim - 2}D; use patches")
            return image.movedim(-1, 1)
        if len(self.patch_size) != image.ndim - 2:
            raise UserError(f"model.patch_size: {list(self.patch_size)} for {image.ndim - 2} axes; give one for each")
        missing = [-have % size for have, size in zip(image.shape[2:], self.patch_size, strict=True)]
        if any(missing):
            image = F.pad(image, [side for more in reversed(missing) for side in (0, more)], mode="replicate")
        for axis, size in enumerate(self.patch_size, start=2):
            image = image.unfold(axis, size, size)
        return image.flatten(2, image.ndim - 1 - len(self.patch_size)).movedim(2, 1)

    def spread(self, weights: Tensor, shape: Sequence[int]) -> Tensor:
        """A number an instance (B, N) at every voxel of its image, (B, *shape)."""
        if self.patch_size is None:
            return weights.view(len(weights), *[1] * (len(shape) - 1), -1).expand(-1, *shape)
        counts = [-(-have // size) for have, size in zip(shape, self.patch_size, strict=True)]
        made = weights.view(-1, *counts)
        for axis, (size, have) in enumerate(zip(self.patch_size, shape, strict=True), start=1):
            made = made.repeat_interleave(size, dim=axis).narrow(axis, 0, have)
        return made


class MultipleScans(nn.Module):
    """A study (B, T, C, *spatial) as a bag of its scans, of which the first `frames` are there: of the others none goes
    through the network or has a weight. The rest is as in `MultipleInstance`."""

    def __init__(
        self,
        net: Callable[..., nn.Module],
        in_channels: int,
        out_channels: int,
        features: int = 64,
        pooling: Pooling = "attention",
        hidden: int = 64,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.net = part(net, in_channels, features)
        self.pool = Bag(features, out_channels, pooling, hidden, dropout)

    def forward(self, image: Tensor, frames: Tensor | None = None) -> Tensor:
        """frames: (B,), how many scans a study has; None: all."""
        return self._pooled(image, frames)[0]

    def attention(self, image: Tensor, frames: Tensor | None = None) -> Tensor:
        """How much each scan counts for its study, (B, T)."""
        return self._pooled(image, frames)[1]

    def _pooled(self, image: Tensor, frames: Tensor | None) -> tuple[Tensor, Tensor]:
        there = torch.ones(image.shape[:2], dtype=torch.bool, device=image.device)
        if frames is None:
            features = self.net(image.flatten(0, 1)).unflatten(0, image.shape[:2]).relu()
        else:
            there = torch.arange(image.shape[1], device=image.device) < frames[:, None]
            found = self.net(image[there]).relu()
            features = found.new_zeros((*there.shape, found.shape[1])).index_put((there,), found)
        pooled: tuple[Tensor, Tensor] = self.pool(features, there)
        return pooled
