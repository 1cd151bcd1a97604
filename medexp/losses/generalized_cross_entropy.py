"""Generalized cross-entropy, which wrong labels move less."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medexp.errors import UserError
from medexp.losses.targets import log_likelihood


class GeneralizedCrossEntropy(nn.Module):
    """(1 - p^q) / q with p the probability of the label (Zhang and Sabuncu 2018, arXiv:1805.07836): cross-entropy as q goes to
    0, the mean absolute error at 1, which gives labels that the network cannot believe no more weight than others.

    Softmax for class indices (B, 1, *spatial), sigmoid of each label for float targets (B, K, *spatial) and for one channel.
    """

    def __init__(self, q: float = 0.7) -> None:
        super().__init__()
        if not 0 < q <= 1:
            raise UserError(
                f"loss.q: {q} is not above 0 and at most 1; 0.7 is the paper's, cross_entropy is the limit at 0"
            )
        self.q = q

    def forward(self, scores: Tensor, target: Tensor) -> Tensor:
        return ((1 - torch.exp(self.q * log_likelihood(scores, target))) / self.q).mean()
