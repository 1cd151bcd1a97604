"""Means of a few repetitions, and how far they can be trusted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import t


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float | None, float | None]:
    """The mean and the ends of its interval by Student's t (Gosset 1908), which of few values, such as three seeds, is wide:
    4.3 standard errors to each side. Of one value there is no interval."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, None, None
    reach = float(t.ppf(0.5 + confidence / 2, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5)
    return mean, mean - reach, mean + reach
