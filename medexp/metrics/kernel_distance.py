"""How far made images are from real ones while a generator learns, without its discriminator."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from medexp.metrics.generative import kernel_distance


class KernelDistance(Metric):
    """Squared maximum mean discrepancy (see medexp/metrics/generative.py) of features of as many made and real images.

    features: a network that gives them, (B, D), which stays as it is. `update`: made and real images (B, C, *spatial). NaN
    of fewer than two."""

    higher_is_better = False
    is_differentiable = False
    full_state_update = False
    made: list[Tensor]
    real: list[Tensor]

    def __init__(self, features: nn.Module) -> None:
        super().__init__()
        self.features = features.requires_grad_(False)
        self.add_state("made", [], dist_reduce_fx="cat")
        self.add_state("real", [], dist_reduce_fx="cat")

    def update(self, images: Tensor, references: Tensor) -> None:
        self.made.append(self.features(images))
        self.real.append(self.features(references))

    def compute(self) -> Tensor:
        """Scalar."""
        one, other = (torch.cat(found) if isinstance(found, list) else found for found in (self.made, self.real))
        if len(one) < 2:
            return torch.tensor(torch.nan, device=one.device)
        return torch.tensor(kernel_distance(one, other), dtype=torch.float32, device=one.device)
