"""Which key belongs to a query, told from keys of other images."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medexp.errors import UserError


class InfoNCE(nn.Module):
    """Cross-entropy of which of the keys is a query's own, by cosine similarity over `temperature` (van den Oord et al. 2018,
    arXiv:1807.03748). The others are the keys of the other images of the batch and those that are handed over as `queue`
    (He et al. 2020, MoCo, arXiv:1911.05722)."""

    def __init__(self, temperature: float = 0.1) -> None:
        super().__init__()
        if temperature <= 0:
            raise UserError(f"loss.temperature: {temperature} is not above 0; 0.1 is usual")
        self.temperature = temperature

    def forward(self, query: Tensor, key: Tensor, queue: Tensor | None = None) -> Tensor:
        """query, key: (B, D), of the same images in order. queue: (N, D), of others."""
        others = key if queue is None else torch.cat([key, queue])
        similar = F.normalize(query, dim=1) @ F.normalize(others, dim=1).T / self.temperature  # (B, B + N)
        return F.cross_entropy(similar, torch.arange(len(query), device=query.device))
