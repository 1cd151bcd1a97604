"""Late fusion: a network a modality, whose features are put together for the modalities that a case has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from medexp.errors import UserError
from medexp.models.parts import part


class Fusion(nn.Module):
    """Images (B, M, *spatial) to scores (B, K) or (B, K, *spatial): each channel, a modality, through a network of its own
    that gives `features` channels of it; what these say together, a linear layer turns into scores.

    net: any network: a value an image (classification) or a value a voxel (segmentation).
    fuse: "mean" of the modalities (as the first moment of HeMIS, Havaei 2016, arXiv:1607.05194); "concatenate", zeros for
        a modality that is missing; "attention": a mean whose weights are learnt from the features, in segmentation
        for each voxel (Ilse 2018, arXiv:1802.04712, eq. 8).
    hidden: width of the attention.

    A modality that a case lacks never goes through its network, so that it touches no batch norm, and has no weight.
    """

    def __init__(
        self,
        net: Callable[..., nn.Module],
        in_channels: int,
        out_channels: int,
        features: int = 32,
        fuse: Literal["mean", "concatenate", "attention"] = "mean",
        hidden: int = 32,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.nets = nn.ModuleList(part(net, 1, features) for _ in range(in_channels))
        self.features, self.fuse = features, fuse
        self.weigh = None
        if fuse == "attention":
            self.weigh = nn.Sequential(nn.Linear(features, hidden), nn.Tanh(), nn.Linear(hidden, 1))
        self.dropout = nn.Dropout(dropout)
        self.scores = nn.Linear(features * (in_channels if fuse == "concatenate" else 1), out_channels)

    def forward(self, image: Tensor, present: Tensor | None = None) -> Tensor:
        """image: (B, M, *spatial). present: (B, M), 1 for the modalities that a case has; None: all. Heads of deep
        supervision come as (B, heads, K, *spatial). Raises UserError for another number of modalities."""
        if image.shape[1] != len(self.nets):
            raise UserError(f"the model has networks for {len(self.nets)} modalities, got {image.shape[1]}")
        there = torch.ones(image.shape[:2], device=image.device) if present is None else present
        there = there > 0
        found = [
            through(net, image[:, place, None], there[:, place], present is None) for place, net in enumerate(self.nets)
        ]
        features = torch.stack([torch.movedim(each, channel_axis(each, image), -1) for each in found], dim=1)
        fused = self.fused(features.relu(), there.reshape(*there.shape, *[1] * (features.ndim - 2)))
        return torch.movedim(self.scores(self.dropout(fused)), -1, channel_axis(found[0], image))

    def fused(self, features: Tensor, there: Tensor) -> Tensor:
        """(B, M, *, features) of modalities, those of absent ones zero, to (B, *, features or M * features)."""
        if self.fuse == "concatenate":
            return features.movedim(1, -2).flatten(-2)
        if self.weigh is None:
            return features.sum(dim=1) / there.sum(dim=1).clamp(min=1)
        return (self.weights(features, there) * features).sum(dim=1)

    def weights(self, features: Tensor, there: Tensor) -> Tensor:
        """Attention (B, M, *, 1): 0 for what is absent, 1 in sum."""
        assert self.weigh is not None
        logits = self.weigh(features).float()
        return logits.masked_fill(~there, torch.finfo(logits.dtype).min).softmax(dim=1)


def channel_axis(found: Tensor, image: Tensor) -> int:
    """Of a network's outcome: (B, F), (B, F, *spatial), or (B, heads, F, *spatial) of deep supervision."""
    return 2 if found.ndim == image.ndim + 1 else 1


def through(net: nn.Module, image: Tensor, there: Tensor, whole: bool) -> Tensor:
    """`net` of the images (B, 1, *spatial) that are there; zeros for the others.

    In training two always go through it: batch norms need them, and so do processes that train together, which wait for
    a gradient of every parameter. `whole`: all are there.
    """
    if whole or bool(there.all()):
        return net(image)
    chosen = there.clone()
    if net.training and int(there.sum()) < 2:
        chosen[(~there).nonzero()[: 2 - int(there.sum()), 0]] = True
    if not bool(chosen.any()):
        chosen[0] = True  # the shape of what it gives is the network's own
    found = net(image[chosen])
    kept = found * there[chosen].reshape(-1, *[1] * (found.ndim - 1))
    return kept.new_zeros((len(image), *kept.shape[1:])).index_put((chosen.nonzero()[:, 0],), kept)
