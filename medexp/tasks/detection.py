"""Detection: where objects are, how large and of which class, from a heat map of their centres."""

from __future__ import annotations

from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from medexp.boxes import extents
from medexp.errors import UserError
from medexp.inferers.peaks import Suppress, padded, peaks, suppressed
from medexp.tasks.base import Batch, Step, Task
from medexp.tasks.segmentation import scores_are_stacked

PRIOR = -4.6  # logit that the heat maps start from, a chance of 0.01: else the many empty voxels fill the first steps


class Split(Protocol):
    """Of a data module: the boxes of its training cases."""

    def training_boxes(self) -> Tensor: ...


class Detection(Task):
    """Objects as points (CenterNet, Zhou et al. 2019): any network with a value a voxel, K + 2 * axes of them.

    size: voxels of a typical object, from which the network's sizes start ("auto": geometric mean of the training split).
    least: score from which on a peak is an object. suppress, limit: which of two peaks repeat one object ("overlap": IoU
    above limit; "centre": the centre lies within limit times the better one's box). most: objects of an image.
    """

    size: Tensor

    def __init__(
        self,
        size: float | Literal["auto"] = "auto",
        least: float = 0.05,
        suppress: Suppress = "overlap",
        limit: float = 0.3,
        most: int = 200,
        target: Literal["boxes"] = "boxes",
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        self.least, self.suppress, self.limit, self.most = least, suppress, limit, most
        self.given = size != "auto"
        self.register_buffer("size", torch.tensor(float(size) if size != "auto" else 1.0))

    def learn(self, split: Split) -> None:
        """Takes the typical size from the training split, before training. Raises UserError where it has no object."""
        boxes = split.training_boxes()
        if not len(boxes):
            raise UserError("dataset: no training case has an object; there is nothing to learn from")
        if not self.given:
            self.size.copy_(extents(boxes).clamp(min=1).log().mean().exp())

    def step(self, batch: Batch) -> Step:
        scores = self(batch)
        heads = scores.unbind(dim=1) if scores_are_stacked(scores, batch["image"]) else scores
        heads = [self.measured(head) for head in (heads if isinstance(heads, list | tuple) else [heads])]
        target = torch.cat([batch["boxes"], batch["box_classes"][..., None]], dim=-1)  # (B, N, 2 * axes + 1)
        # As in segmentation, each head of deep supervision halves the weight of the one before.
        losses = [0.5**index * self.loss(head, target) for index, head in enumerate(heads)]
        return Step(torch.stack(losses).sum(), heads[0], target)

    def measured(self, scores: Tensor) -> Tensor:
        """The network's output (B, K + 2 * axes, *spatial) as logits, logarithms of sizes and offsets in voxels."""
        axes = scores.ndim - 2
        logits, sizes, offsets = scores.float().split([scores.shape[1] - 2 * axes, axes, axes], dim=1)
        return torch.cat([logits + PRIOR, sizes + self.size.log(), offsets * self.size], dim=1)

    def probabilities(self, scores: Tensor) -> Tensor:
        """Of measured scores: objects (B, N, 2 * axes + 2), see medexp/inferers/peaks.py; rows of score 0 fill up."""
        axes = scores.ndim - 2
        logits, sizes, offsets = scores.float().split([scores.shape[1] - 2 * axes, axes, axes], dim=1)
        maps = torch.cat([logits.sigmoid(), sizes.clamp(max=10).exp(), offsets], dim=1)
        return padded([suppressed(peaks(one, axes, self.least), self.limit, self.suppress, self.most) for one in maps])

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return self.probabilities(self.measured(self(batch))).float()
