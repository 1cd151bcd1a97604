"""Prepared intensities and those of the scanner."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]


class Line(NamedTuple):
    """What leads from prepared values to those of the source: the inverse of a linear normalisation, such as z-scores."""

    slope: float
    intercept: float

    @classmethod
    def between(cls, known: Array, source: Array) -> Line:
        """The line that leads best from `known` to `source`, of one shape."""
        known, source = np.asarray(known, np.float64), np.asarray(source, np.float64)
        variance = float(known.var())
        middle, mean = float(known.mean()), float(source.mean())
        slope = float(np.mean((known - middle) * (source - mean))) / variance if variance else 0.0
        return cls(slope, mean - slope * middle)

    def along(self, values: Array) -> Array:
        """float32, of any shape."""
        return np.asarray(np.asarray(values, np.float64) * self.slope + self.intercept, np.float32)
