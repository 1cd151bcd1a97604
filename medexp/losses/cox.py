"""The Cox partial likelihood of log hazards."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn


class Cox(nn.Module):
    """Negative log partial likelihood of proportional hazards, a mean over the events (Cox 1972).

    ties, of events at one time: "efron" (Efron 1977, doi:10.1080/01621459.1977.10480613) or "breslow" (Breslow 1974).
    The risk set of an event is the cases of the batch that were still followed up at its time: batches want to be
    large, and with several devices a risk set is that of one rank. A batch without an event has a loss of 0.

    Own code, for torchsurv's exponentiates log hazards as they are (large ones overflow), warns at every tie, and returns
    a constant without gradient where there is no event, on which distributed training hangs.
    """

    def __init__(self, ties: Literal["efron", "breslow"] = "efron") -> None:
        super().__init__()
        if ties not in ("efron", "breslow"):
            raise ValueError(f"ties={ties!r}; allowed: efron, breslow")
        self.ties = ties

    def forward(self, scores: Tensor, target: Tensor) -> Tensor:
        """scores: log hazards (B, 1). target: (B, 2), time and event (1) or censored (0)."""
        risk, (time, event) = scores.squeeze(1), target.unbind(1)
        came = event > 0
        if not came.any():
            return risk.sum() * 0.0
        at_risk = time >= time[came, None]  # (events, B)
        everyone = _logsumexp(risk, at_risk)  # log of the sum of hazards, a row an event
        if self.ties == "breslow":
            return (everyone - risk[came]).mean()
        tied = time[came] == time[came, None]  # (events, events)
        before = tied.tril(-1).sum(1) / tied.sum(1)  # share of the tied events that count as gone: 0, 1/m, 2/m ...
        fellows = _logsumexp(risk[came], tied)
        return (everyone + torch.log1p(-before * torch.exp(fellows - everyone)) - risk[came]).mean()


def _logsumexp(risk: Tensor, members: Tensor) -> Tensor:
    """Over the members of each row; every row has one at least."""
    return torch.where(members, risk, -torch.inf).logsumexp(1)
