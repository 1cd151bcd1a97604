"""The likelihood of hazards in intervals of time."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import logsigmoid


class DiscreteHazards(nn.Module):
    """Negative log likelihood of a hazard an interval, a mean over cases (Gensheimer and Narasimhan 2019,
    doi:10.7717/peerj.6257)."""

    def forward(self, scores: Tensor, target: Tensor) -> Tensor:
        """scores: logits of the hazards (B, K): that the event comes in an interval, given that it has not before.
        target: (B, 2, K): intervals that were survived (1), and the one in which the event came (1)."""
        survived, failed = target.unbind(1)
        return -(survived * logsigmoid(-scores) + failed * logsigmoid(scores)).sum(1).mean()
