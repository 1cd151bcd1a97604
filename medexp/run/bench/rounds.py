"""Contestants side by side: interleaved rounds, medians, spread, and ratios of medians."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Timing:
    """Seconds of one contestant over the rounds."""

    median: float
    least: float
    most: float

    def as_json(self) -> dict[str, float]:
        return {"median_s": self.median, "min_s": self.least, "max_s": self.most}


def interleaved(contestants: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, Timing]:
    """Each contestant once a round, after one round that does not count: what the machine does meanwhile hits all alike."""
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds + 1):
        for name, action in contestants.items():
            begun = time.perf_counter()
            action()
            if number:
                taken[name].append(time.perf_counter() - begun)
    return {name: Timing(statistics.median(times), min(times), max(times)) for name, times in taken.items()}
