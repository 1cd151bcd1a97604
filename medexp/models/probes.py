"""Probes: how well classes can be told from features that no label has shaped. Fitted in closed form, without a gradient."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medexp.errors import UserError


class Probe(nn.Module, ABC):
    """`fit(features, labels, classes)`, then `probe(features)`: (B, F) to a score a class (B, K).

    What was fitted are buffers, whose shapes follow from the data; a state of any shape is taken.
    """

    @abstractmethod
    def fit(self, features: Tensor, labels: Tensor, classes: int) -> None:
        """features: float (N, F). labels: int64 (N,), 0 to `classes` - 1."""

    @property
    def fitted(self) -> bool:
        return all(buffer.numel() for buffer in self.buffers())

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        for name, buffer in self.named_buffers(recurse=False):
            if (saved := state.get(prefix + name)) is not None:
                setattr(self, name, torch.empty_like(saved, device=buffer.device))
        super()._load_from_state_dict(state, prefix, *rest)


class NearestNeighbours(Probe):
    """The vote of the training cases with the most similar features, weighted by exp(similarity / temperature) (Wu et al.
    2018, arXiv:1805.01978). neighbours: how many vote; all where there are fewer."""

    bank: Tensor
    labels: Tensor

    def __init__(self, neighbours: int = 10, temperature: float = 0.1) -> None:
        super().__init__()
        if neighbours < 1 or temperature <= 0:
            raise UserError(
                f"task.probes: neighbours {neighbours}, temperature {temperature}: 1 or more, and above 0, are needed"
            )
        self.neighbours, self.temperature = neighbours, temperature
        self.register_buffer("bank", torch.zeros(0, 0))
        self.register_buffer("labels", torch.zeros(0, 0))

    def fit(self, features: Tensor, labels: Tensor, classes: int) -> None:
        self.bank = F.normalize(features.float(), dim=1)
        self.labels = F.one_hot(labels, classes).float()  # (N, K)

    def forward(self, features: Tensor) -> Tensor:
        similar, places = (F.normalize(features.float(), dim=1) @ self.bank.T).topk(
            min(self.neighbours, len(self.bank)), dim=1
        )
        votes = torch.exp((similar - similar[:, :1]) / self.temperature)  # (B, neighbours)
        return (votes[..., None] * self.labels[places]).sum(dim=1) / votes.sum(dim=1, keepdim=True)


class Linear(Probe):
    """Ridge regression of the classes on standardised features: the linear probe that needs no training run.

    penalty: of the squared weights, as a share of the number of cases.
    """

    mean: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(self, penalty: float = 0.1) -> None:
        super().__init__()
        if penalty <= 0:
            raise UserError(f"task.probes: penalty {penalty} is not above 0; few cases have many solutions without one")
        self.penalty = penalty
        for name in ("mean", "weight", "bias"):
            self.register_buffer(name, torch.zeros(0))

    def fit(self, features: Tensor, labels: Tensor, classes: int) -> None:
        values = features.double()
        self.mean = values.mean(dim=0).float()
        scale = values.std(dim=0, correction=0).clamp(min=1e-6)
        values = (values - values.mean(dim=0)) / scale
        wanted = F.one_hot(labels, classes).double()
        gram = values.T @ values + self.penalty * len(values) * torch.eye(values.shape[1], device=values.device)
        found = torch.linalg.solve(gram, values.T @ (wanted - wanted.mean(dim=0)))  # (F, K)
        self.weight, self.bias = (found / scale[:, None]).float(), wanted.mean(dim=0).float()

    def forward(self, features: Tensor) -> Tensor:
        return (features.float() - self.mean) @ self.weight + self.bias
