"""Symmetric cross-entropy: the label told by the network as well as the network by the label."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medexp.errors import UserError
from medexp.losses.targets import log_likelihood

LOG_OF_ZERO = -4.0  # in the place of the log of a label's probability 0: the paper's A


class SymmetricCrossEntropy(nn.Module):
    """alpha times cross-entropy plus beta times its reverse (Wang et al. 2019, arXiv:1908.06112), in which the label's log
    probability of other classes is -4: 4 (1 - p) with p the probability of the label.

    Softmax for class indices (B, 1, *spatial), sigmoid of each label for float targets (B, K, *spatial) and for one channel.
    """

    def __init__(self, alpha: float = 0.1, beta: float = 1.0) -> None:
        super().__init__()
        for key, value in {"alpha": alpha, "beta": beta}.items():
            if value < 0:
                raise UserError(f"loss.{key}: {value} is negative; 0 leaves that part out")
        if not alpha and not beta:
            raise UserError("loss.alpha, loss.beta: both are 0, which leaves no loss; give one")
        self.alpha, self.beta = alpha, beta

    def forward(self, scores: Tensor, target: Tensor) -> Tensor:
        log_p = log_likelihood(scores, target)
        return (-self.alpha * log_p - self.beta * LOG_OF_ZERO * (1 - torch.exp(log_p))).mean()
