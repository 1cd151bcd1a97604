"""Area under the ROC curve where some class may be missing."""

from __future__ import annotations

import logging

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.classification import binary_auroc
from torchmetrics.utilities.data import dim_zero_cat

log = logging.getLogger(__name__)
CHANCE = 0.5


class PresentAUROC(Metric):
    """AUROC of each class against the rest, averaged over the classes that have positive and negative cases.

    torchmetrics' own AUROC warns and counts 0 for a class without positives, which small validation splits often lack.
    Where no class can be scored the value is 0.5, what guessing gives, and the log says so.

    num_classes: columns of the probabilities: K classes or labels, 1 for a binary target.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    probabilities: list[Tensor]
    truth: list[Tensor]

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.add_state("probabilities", [], dist_reduce_fx="cat")
        self.add_state("truth", [], dist_reduce_fx="cat")

    def update(self, probabilities: Tensor, target: Tensor) -> None:
        """Adds a batch: probabilities (B, K); target (B,) class indices, or (B, K) zeros and ones."""
        if target.ndim == 1:
            target = torch.nn.functional.one_hot(target.long(), self.num_classes)
        self.probabilities.append(probabilities.detach().float())
        self.truth.append(target.int())

    def compute(self) -> Tensor:
        """The mean over the classes that can be scored, or 0.5."""
        probabilities = dim_zero_cat(self.probabilities)  # (N, K)
        values = present_auroc(probabilities, dim_zero_cat(self.truth))
        kept = [value for value in values if value is not None]
        if not kept:
            log.warning("auroc: no class has both positive and negative cases; %.1f (chance) stands in", CHANCE)
        return torch.tensor(sum(kept) / len(kept) if kept else CHANCE, device=probabilities.device)


def present_auroc(probabilities: Tensor, truth: Tensor) -> list[float | None]:
    """AUROC of each column of probabilities (N, K) for truth (N, K); None without both positives and negatives."""
    result: list[float | None] = []
    for scores, positive in zip(probabilities.unbind(1), truth.int().unbind(1), strict=True):
        both = 0 < int(positive.sum()) < len(positive)
        # Rounding may push a probability past 1, which torchmetrics would take for a logit.
        result.append(float(binary_auroc(scores.clamp(0, 1), positive)) if both else None)
    return result
