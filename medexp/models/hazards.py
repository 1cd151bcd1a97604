"""What a network's scores mean for the time to an event: one proportional hazard, or a hazard an interval of time.

Both learn their times from the training split (`learn`), before training, and what the scores leave open (`settle`) from the
scores of the training cases, before every validation. Both are buffers, so that a checkpoint predicts alone.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

log = logging.getLogger(__name__)


class Hazards(nn.Module, ABC):
    """Of scores (B, K) and targets (N, 2): time, and event (1) or censored (0)."""

    @abstractmethod
    def learn(self, targets: Tensor) -> None:
        """Takes the times of the training split."""

    @abstractmethod
    def target(self, targets: Tensor) -> Tensor:
        """Targets as the loss takes them."""

    @abstractmethod
    def settle(self, scores: Tensor, targets: Tensor) -> None:
        """Estimates what is left, from the scores of the training split."""

    @abstractmethod
    def risk(self, scores: Tensor) -> Tensor:
        """(B,): the higher, the sooner."""

    @abstractmethod
    def survival(self, scores: Tensor, times: Tensor) -> Tensor:
        """(B, T): probability of no event until each time."""

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        for name, buffer in self.named_buffers(recurse=False):  # as many times as the training split had
            saved = state_dict.get(prefix + name)
            if saved is not None and saved.shape != buffer.shape:
                setattr(self, name, torch.empty_like(saved, device=buffer.device))
        super()._load_from_state_dict(state_dict, prefix, *args)


class ProportionalHazards(Hazards):
    """One score, the log of a hazard that is proportional to a baseline at all times (Cox 1972).

    Buffers: `times` (E,), the event times of the training split, and `log_hazard` (E,), the log of the cumulative
    baseline hazard from each on (Breslow 1972).
    """

    times: Tensor
    log_hazard: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("times", torch.zeros(0))
        self.register_buffer("log_hazard", torch.zeros(0))

    def learn(self, targets: Tensor) -> None:
        self.times = targets[targets[:, 1] > 0, 0].unique().to(self.times)
        self.log_hazard = torch.full_like(self.times, -torch.inf)

    def target(self, targets: Tensor) -> Tensor:
        return targets

    def settle(self, scores: Tensor, targets: Tensor) -> None:
        (time, event), risk = targets.unbind(1), scores.squeeze(1).double()
        at_risk = time >= self.times[:, None]  # (E, N)
        events = ((time == self.times[:, None]) & (event > 0)).sum(1)
        everyone = torch.where(at_risk, risk, -torch.inf).logsumexp(1)
        self.log_hazard.copy_((events.log() - everyone).logcumsumexp(0))

    def risk(self, scores: Tensor) -> Tensor:
        return scores.squeeze(1)

    def survival(self, scores: Tensor, times: Tensor) -> Tensor:
        before = self.log_hazard.new_full((1,), -torch.inf)  # no hazard before the first event
        steps = torch.cat([before, self.log_hazard])[torch.searchsorted(self.times, times, right=True)]
        return torch.exp(-torch.exp(scores + steps))


class DiscreteHazards(Hazards):
    """K scores, the logits of hazards in K intervals of time (Gensheimer and Narasimhan 2019, doi:10.7717/peerj.6257).

    Buffer: `edges` (K + 1,), from 0 over quantiles of the training split's event times to its longest follow-up. A
    case that is censored in an interval has survived it where its time is beyond the middle. Within an interval the
    hazard is constant; beyond the last edge nothing is known, and survival stays where it is there.
    """

    edges: Tensor

    def __init__(self, intervals: int) -> None:
        super().__init__()
        if intervals < 2:
            raise ValueError(f"intervals={intervals}; 2 or more are needed")
        self.register_buffer("edges", torch.linspace(0, 1, intervals + 1))

    def learn(self, targets: Tensor) -> None:
        time, came = targets[:, 0].double(), targets[:, 1] > 0
        count, longest = len(self.edges) - 1, time.max()
        inner = time[came].quantile(torch.arange(1, count, device=time.device).double() / count)
        edges = torch.cat([time.new_zeros(1), inner, longest[None]])
        if not (edges.diff() > 0).all():
            log.warning("%d intervals cannot hold equally many of %d events: they are equally long", count, came.sum())
            edges = torch.linspace(0, 1, count + 1).to(time) * longest.clamp(min=1e-6)
        self.edges.copy_(edges)

    def target(self, targets: Tensor) -> Tensor:
        """(B, 2, K): intervals that were survived, and the one in which the event came."""
        time, event = targets[:, :1], targets[:, 1:]
        lower, upper = self.edges[:-1], self.edges[1:]
        last = torch.arange(len(lower), device=time.device) == len(lower) - 1
        failed = event * ((time >= lower) & ((time < upper) | last))
        enough = torch.where(event > 0, upper, (lower + upper) / 2)
        survived = (time >= enough) * (1 - failed)
        return torch.stack([survived, failed], dim=1)

    def settle(self, scores: Tensor, targets: Tensor) -> None:
        """Nothing is left."""

    def risk(self, scores: Tensor) -> Tensor:
        """Time without the event that is expected to be lost until the last edge, in the unit of the times."""
        survival = self.survival(scores, self.edges)
        return self.edges[-1] - torch.trapezoid(survival, self.edges, dim=1)

    def survival(self, scores: Tensor, times: Tensor) -> Tensor:
        logs = nn.functional.pad(logsigmoid(-scores).cumsum(1), (1, 0))  # (B, K + 1): log survival at the edges
        times = times.to(self.edges).clamp(self.edges[0], self.edges[-1])
        place = (torch.searchsorted(self.edges, times, right=True) - 1).clamp(max=len(self.edges) - 2)
        share = (times - self.edges[place]) / (self.edges[place + 1] - self.edges[place])
        return torch.exp(logs[:, place] + share * (logs[:, place + 1] - logs[:, place]))
