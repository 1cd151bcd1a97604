"""Co-teaching: two networks, each of which learns from the cases that the other finds easy."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from medexp.errors import UserError
from medexp.learning.base import Learner, Learning, through


class CoTeaching(Learning):
    """Co-teaching (Han et al. 2018, arXiv:1804.06872), for labels of which some are wrong.

    Of every batch each network learns from those cases that have the smallest losses in the other: wrong labels are learnt
    last. The share that is left out rises evenly over `ramp_up` optimizer steps to `forget_rate`, for which the share of wrong
    labels is taken; at least one case is kept. One optimizer moves both. The first validates and predicts. other: the second
    network. Raises UserError.
    """

    kinds: ClassVar = ("index", "binary", "multilabel")
    unlabelled: ClassVar = False
    twin: ClassVar = True

    def __init__(self, other: nn.Module, forget_rate: float = 0.2, ramp_up: int = 100) -> None:
        super().__init__()
        if not 0 <= forget_rate < 1:
            raise UserError(f"learning.forget_rate: {forget_rate} is not from 0 to below 1; 0 forgets none")
        if ramp_up < 0:
            raise UserError(f"learning.ramp_up: {ramp_up} is negative; 0 forgets that share from the start")
        self.other, self.forget_rate, self.ramp_up = other, forget_rate, ramp_up

    def forgotten(self, step: int) -> float:
        """The share of a batch that is left out at an optimizer step."""
        return self.forget_rate * (min(step / self.ramp_up, 1.0) if self.ramp_up else 1.0)

    def objective(self, task: Learner, batch: dict[str, Any]) -> Tensor:
        one = task.step(batch)
        with through(task, self.other):
            two = task.step(batch)
        kept = max(1, round((1 - self.forgotten(task.global_step)) * len(one.target)))
        easy_to_one, easy_to_two = (_easiest(task.loss, step, kept) for step in (one, two))
        loss: Tensor = task.loss(one.scores[easy_to_two], one.target[easy_to_two])
        return loss + task.loss(two.scores[easy_to_one], two.target[easy_to_one])


@torch.no_grad()
def _easiest(loss: nn.Module, step: Any, count: int) -> Tensor:
    """Places of the cases with the smallest losses, in their order in the batch."""
    each = [loss(step.scores[i : i + 1], step.target[i : i + 1]) for i in range(len(step.target))]
    return torch.stack(each).argsort(stable=True)[:count].sort().values
