"""Mean teacher: the network is to say of unlabelled cases what an average of its own past says."""

from __future__ import annotations

import copy
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medexp.errors import UserError
from medexp.learning.base import STRONG, UNLABELLED, Learner, Learning, scores_of
from medexp.learning.ramp import Ramp


class MeanTeacher(Learning):
    """Mean teacher (Tarvainen and Valpola 2017, arXiv:1703.01780).

    To the supervised loss is added `weight` times the mean squared difference between the probabilities that the network
    gives for the strong view of the unlabelled cases and those of the teacher for the weak one; the weight rises over
    `ramp_up` optimizer steps (see Ramp). The teacher is the moving average of the network's weights and running statistics:
    after step n a share of min(decay, 1 - 1 / n) of it is the average before, so that at first it is the plain mean. The teacher
    takes no dropout, and it is what validates and predicts. Raises UserError.
    """

    kinds: ClassVar = ("mask", "index", "binary", "multilabel")
    strong: ClassVar = True
    averages: ClassVar = True
    tells: ClassVar = ("unlabelled",)  # what the difference to the teacher adds to the loss
    teacher: nn.Module

    def __init__(self, weight: float = 5.0, ramp_up: int = 400, decay: float = 0.9) -> None:
        super().__init__()
        if not 0 <= decay < 1:
            raise UserError(f"learning.decay: {decay} is not from 0 to below 1; 0.9 averages about 10 steps")
        self.ramp, self.decay = Ramp(weight, ramp_up), decay

    def begin(self, net: nn.Module) -> None:
        self.teacher = copy.deepcopy(net).requires_grad_(False)

    def predictor(self, net: nn.Module) -> nn.Module:
        return self.teacher

    def objective(self, task: Learner, batch: dict[str, Any]) -> Tensor:
        if task.global_step == 0:
            self._follow(
                task.net, 0.0
            )  # the weights that training begins with may have come after the network was built
        supervised: Tensor = task.step(batch).loss
        weight = self.ramp(task.global_step)
        self.told = ()
        if not weight:
            return supervised
        bare = batch[UNLABELLED]
        self.teacher.eval()  # the task's own mode comes back to it with every epoch
        student = task.probabilities(scores_of(task, task.net, bare, STRONG))
        with torch.no_grad():
            teacher = task.probabilities(scores_of(task, self.teacher, bare))
        added = weight * F.mse_loss(student, teacher)
        self.told = (added.detach(),)
        return supervised + added

    def stepped(self, task: Learner) -> None:
        self._follow(task.net, min(self.decay, 1 - 1 / (task.global_step + 1)))

    @torch.no_grad()
    def _follow(self, net: nn.Module, decay: float) -> None:
        """Of the teacher a share of `decay` stays, the rest comes from the network; counters are copied."""
        ours, theirs = self.teacher.state_dict(), net.state_dict()
        for name, value in ours.items():
            if value.is_floating_point() and decay:
                value.lerp_(theirs[name], 1 - decay)
            else:
                value.copy_(theirs[name])
