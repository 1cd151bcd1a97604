"""A weight that rises from nearly nothing: what the network says of unlabelled cases is worth little at first."""

from __future__ import annotations

import math

from medexp.errors import UserError


class Ramp:
    """weight * exp(-5 (1 - t)^2) with t = step / steps up to 1 (Laine and Aila 2017, arXiv:1610.02242): a function of the
    optimizer step alone. steps 0: the weight from the start. Raises UserError naming learning.<key>."""

    def __init__(self, weight: float, steps: int) -> None:
        if weight < 0:
            raise UserError(f"learning.weight: {weight} is negative; 0 learns from labelled cases alone")
        if steps < 0:
            raise UserError(f"learning.ramp_up: {steps} is negative; 0 takes the weight from the start")
        self.weight, self.steps = weight, steps

    def __call__(self, step: int) -> float:
        share = min(step / self.steps, 1.0) if self.steps else 1.0
        return self.weight * math.exp(-5 * (1 - share) ** 2)
