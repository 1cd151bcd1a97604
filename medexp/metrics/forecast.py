"""What a survival model says of a case, as one vector: so it travels from the network to tables without a second path."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Forecast(NamedTuple):
    """risk: higher means sooner. high: whether that is above the training split's median. horizons, survival: the times
    that were asked, and the probability of no event until then. grid, curve: the same at times that cover the follow-up.
    """

    risk: float
    high: bool
    horizons: np.ndarray
    survival: np.ndarray
    grid: np.ndarray
    curve: np.ndarray


def pack(risk: Tensor, high: Tensor, horizons: Tensor, survival: Tensor, grid: Tensor, curve: Tensor) -> Tensor:
    """risk, high (B,), horizons (H,), survival (B, H), grid (G,), curve (B, G) -> (B, 3 + 2 H + 2 G)."""
    asked = torch.full_like(risk, len(horizons))

    def each(times: Tensor) -> Tensor:
        return times.expand(len(risk), -1)

    columns = (risk[:, None], high[:, None], asked[:, None], each(horizons), survival, each(grid), curve)
    return torch.cat([column.to(risk) for column in columns], dim=1)


def unpack(vector: np.ndarray) -> Forecast:
    """Of one case. Times are of four significant digits (`rounded`), whatever float32 made of them."""
    count = int(vector[2])
    horizons, survival = vector[3 : 3 + count], vector[3 + count : 3 + 2 * count]
    grid, curve = np.split(vector[3 + 2 * count :], 2)
    return Forecast(float(vector[0]), bool(vector[1]), rounded(horizons), survival, rounded(grid), curve)


def rounded(times: np.ndarray) -> np.ndarray:
    """To four significant digits, as columns name them."""
    return np.array([float(f"{time:.4g}") for time in times], dtype=float)
