"""Average precision of boxes over validation batches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from medexp.metrics.boxes import average_precision, matched, overlaps


class BoxAveragePrecision(Metric):
    """Mean of average precision over overlaps (IoU) and over the classes that there are objects of.

    update: found (B, N, 2 * axes + 2), rows of score 0 fill up; target (B, M, 2 * axes + 1), class below 0 fills up. 0
    where there is no object at all. Of low overlaps alone a detector whose boxes are still poor would be the best.
    """

    higher_is_better = True
    full_state_update = False

    def __init__(self, num_classes: int, overlaps: Sequence[float] = (0.1, 0.5)) -> None:
        super().__init__()
        self.num_classes, self.overlaps = num_classes, list(overlaps)
        self.add_state("found", default=[], dist_reduce_fx="cat")
        self.add_state("counts", default=torch.zeros(num_classes), dist_reduce_fx="sum")
        self.found: list[Tensor]
        self.counts: Tensor

    def update(self, found: Tensor, target: Tensor) -> None:
        """Notes of each found box its class, its score and at which overlaps it is right."""
        for boxes, true in zip(found.float().cpu().numpy(), target.float().cpu().numpy(), strict=True):
            for kind in range(self.num_classes):
                mine = boxes[(boxes[:, -1] == kind) & (boxes[:, -2] > 0)]
                theirs = true[true[:, -1] == kind] if len(true) else true
                iou = overlaps(mine[:, :-2], theirs[:, :-1])
                right = [matched(iou, limit) >= 0 for limit in self.overlaps]
                rows = np.column_stack([np.full(len(mine), kind), mine[:, -2], *right])
                self.found.append(torch.from_numpy(rows).float().to(self.device))
                self.counts[kind] += len(theirs)

    def compute(self) -> Tensor:
        kept = self.found if isinstance(self.found, list) else [self.found]
        rows = torch.cat([torch.zeros(0, 2 + len(self.overlaps)), *(each.cpu() for each in kept)]).double().numpy()
        values = []
        for kind, count in enumerate(self.counts.tolist()):
            mine = rows[rows[:, 0] == kind]
            if count:
                values += [average_precision(mine[:, 1], right > 0, int(count)) for right in mine[:, 2:].T]
        return torch.tensor(sum(values) / len(values) if values else 0.0, device=self.device)
