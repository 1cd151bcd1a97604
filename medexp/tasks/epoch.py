"""What an epoch that is under way has cost so far."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


class EpochSoFar:
    """The loss of each batch, and what is told of it beside (`names`: train/<name>): means of an epoch are of all its batches
    and ranks, also where it was broken off and resumed. rate: the learning rate that its last step had."""

    def __init__(self, names: Sequence[str] = ()) -> None:
        self.names = tuple(names)
        self.rows: list[Tensor] = []  # (1 + names,) float32 of each batch: the loss comes first
        self.rate = 0.0

    def add(self, loss: Tensor, *beside: Tensor) -> Tensor:
        """Takes down a batch; returns its row, for what is only known later. Missing ones are 0."""
        row = torch.zeros(1 + len(self.names), device=loss.device)
        for place, value in enumerate((loss, *beside)):
            row[place] = value.detach()
        self.rows.append(row)
        return row

    def means(self, device: torch.device) -> Tensor:
        """(1 + names,) of this rank, not a number of an epoch without batches; the next epoch begins."""
        missing = torch.full((1, 1 + len(self.names)), torch.nan, device=device)
        found = torch.stack(self.rows) if self.rows else missing
        self.rows.clear()
        return found.mean(dim=0)

    def leave_out(self, batches: int) -> Tensor:
        """Forgets the last batches; returns the mean of their losses."""
        taken, self.rows = self.rows[-batches:], self.rows[:-batches]
        return torch.stack(taken)[:, 0].mean()

    def saved(self, of_ranks: Callable[[Tensor], Tensor]) -> dict[str, Any] | None:
        """For a checkpoint: (ranks, batches, 1 + names); nothing between epochs."""
        return {"losses": of_ranks(torch.stack(self.rows)), "rate": self.rate} if self.rows else None

    def restore(self, saved: dict[str, Any], rank: int, device: torch.device) -> None:
        self.rows, self.rate = list(saved["losses"][rank].to(device)), saved["rate"]
