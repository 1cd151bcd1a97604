"""Cross pseudo supervision: each of two networks learns what the other says."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from medexp.learning.base import UNLABELLED, Learner, Learning, scores_of, through
from medexp.learning.pseudo import against, said
from medexp.learning.ramp import Ramp


class CrossPseudo(Learning):
    """Cross pseudo supervision (Chen et al. 2021, arXiv:2106.01226).

    Two networks that begin differently learn from the labelled cases, each by the task's loss. To their sum is added `weight`
    times the cross-entropy of each on the unlabelled cases with the classes that the other finds most probable; the weight
    rises over `ramp_up` optimizer steps (see Ramp). One optimizer moves both, and the norm that gradients are clipped by is of
    both. The first validates and predicts. other: the second network, which may be of another kind; weights from elsewhere
    (`init`) go to the first alone. target: the task's kind (medexp/targets.py). Raises UserError.
    """

    kinds: ClassVar = ("mask", "index", "binary", "multilabel")
    twin: ClassVar = True
    tells: ClassVar = ("unlabelled", "agreement")  # what the cross-entropies add; how much of it both call the same

    def __init__(self, other: nn.Module, target: str, weight: float = 1.0, ramp_up: int = 200) -> None:
        super().__init__()
        self.other, self.target, self.ramp = other, target, Ramp(weight, ramp_up)

    def objective(self, task: Learner, batch: dict[str, Any]) -> Tensor:
        supervised: Tensor = task.step(batch).loss
        with through(task, self.other):
            supervised = supervised + task.step(batch).loss
        weight = self.ramp(task.global_step)
        self.told = ()
        if not weight:
            return supervised
        one, two = (scores_of(task, net, batch[UNLABELLED]) for net in (task.net, self.other))
        ours, theirs = said(one, self.target).labels, said(two, self.target).labels
        added = weight * (against(one, theirs, self.target).mean() + against(two, ours, self.target).mean())
        self.told = added.detach(), (ours == theirs).float().mean()
        return supervised + added
