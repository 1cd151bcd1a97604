"""Images and what else is known of a case (age, sex, ...): their features joined before the last layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from medexp.covariates import encoded, entries, width
from medexp.models.parts import part


class WithCovariates(nn.Module):
    """`net` gives `features` of an image (B, C, *spatial), a layer of `hidden` those of the covariates (B, F); a linear
    layer turns both together into scores (B, K).

    net: any network with a value an image. covariates: dataset.covariates, which say how many numbers F a case has.
    """

    unknown: Tensor

    def __init__(
        self,
        net: Callable[..., nn.Module],
        in_channels: int,
        out_channels: int,
        covariates: Sequence[str] | Mapping[str, Any],
        features: int = 64,
        hidden: int = 16,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        known = entries(covariates)
        self.net = part(net, in_channels, features)
        self.told = nn.Sequential(nn.Linear(width(known), hidden), nn.ReLU())
        self.dropout = nn.Dropout(dropout)
        self.scores = nn.Linear(features + hidden, out_channels)
        self.register_buffer("unknown", torch.tensor(encoded(known, None)), persistent=False)

    def forward(self, image: Tensor, covariates: Tensor | None = None) -> Tensor:
        """covariates: (B, F); None: nothing is known of any case."""
        seen = self.net(image).relu()
        given = self.unknown.expand(len(image), -1) if covariates is None else covariates
        return self.scores(self.dropout(torch.cat([seen, self.told(given.to(seen.dtype))], dim=1)))
