"""Cases whose spacing, shape or intensity lies far from that of the others: seldom wrong, always worth a look.

Distance is the robust z-score |x - median| / (1.4826 MAD) of Iglewicz and Hoaglin (How to Detect and Handle Outliers,
ASQC Quality Press 1993), which one outlier in two cannot move. Spacing, shape and standard deviation are compared by
their logarithms: twice and half as large are equally far.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from medexp.data.formats.scan import Array

if TYPE_CHECKING:
    from medexp.data.checks.facts import CaseFacts

LEAST_CASES = 10  # fewer have no typical case
THRESHOLD = 6.0  # the book's 3.5 is for one number of normal scatter; here are many, with heavier tails
FLOOR = (
    0.05  # least scatter, as a share (of logarithms: 5 %): where nearly all are alike, 5 % is no outlier but 30 % is
)
Z = 1.4826  # MAD of a normal distribution to its standard deviation


@dataclass(frozen=True)
class Trait:
    """One number a case, NaN where it has none: `values` to compare, `shown` to print."""

    name: str
    unit: str
    values: Array
    shown: Array
    floor: float


def outliers(facts: Mapping[str, CaseFacts]) -> list[str]:
    """One line a case and trait that lies further than `THRESHOLD` from the median; none below `LEAST_CASES` cases."""
    cases = {case: known for case, known in facts.items() if known.readable}
    if len(cases) < LEAST_CASES:
        return []
    found: dict[str, list[str]] = {case: [] for case in cases}
    for trait in _traits(list(cases.values())):
        if np.count_nonzero(np.isfinite(trait.values)) < LEAST_CASES:
            continue
        scores, middle = robust_z(trait.values, trait.floor), np.nanmedian(trait.shown)
        for case, score, shown in zip(cases, scores, trait.shown, strict=True):
            if score > THRESHOLD:
                found[case].append(
                    f"{trait.name} {shown:.4g}{trait.unit} (median {middle:.4g}, {score:.0f} deviations)"
                )
    return [f"case {case}: {', '.join(texts)}" for case, texts in found.items() if texts]


def robust_z(values: Array, floor: float) -> Array:
    """|x - median| in units of the scatter 1.4826 MAD, which is at least `floor`; NaN stays NaN."""
    away = np.abs(values - np.nanmedian(values))
    scores: Array = away / max(Z * float(np.nanmedian(away)), floor)
    return scores


def _traits(cases: list[CaseFacts]) -> list[Trait]:
    dims = max(len(case.shape) for case in cases)
    channels = max(len(case.intensity) for case in cases)
    traits = []
    for axis in range(dims):
        traits.append(_logarithmic(f"spacing of axis {axis}", " mm", [_at(case.spacing, axis) for case in cases]))
        traits.append(_logarithmic(f"size of axis {axis}", " voxels", [_at(case.shape, axis) for case in cases]))
    for channel in range(channels):
        named = f" of channel {channel}" if channels > 1 else ""
        entries = [case.intensity[channel] if channel < len(case.intensity) else None for case in cases]
        spread = [entry[3] if entry and entry[3] > 0 else np.nan for entry in entries]  # constant: said elsewhere
        mean = np.asarray([entry[2] if entry and entry[3] > 0 else np.nan for entry in entries])
        if np.isfinite(mean).any():
            traits.append(Trait(f"mean intensity{named}", "", mean, mean, FLOOR * float(np.nanmedian(spread))))
            traits.append(_logarithmic(f"standard deviation of intensity{named}", "", spread))
    return traits


def _at(values: tuple[float, ...], axis: int) -> float:
    return float(values[axis]) if axis < len(values) else np.nan


def _logarithmic(name: str, unit: str, values: list[float]) -> Trait:
    shown = np.asarray(values, dtype=np.float64)
    return Trait(name, unit, np.log(shown), shown, FLOOR)
