"""Parts as ranges of [0, 1): each patient's place is a hash, so that a newcomer moves nobody but who was borrowed."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise

from medexp.seeding import derive


def place(seed: int, purpose: str, patient: str) -> float:
    """Where a patient falls in [0, 1): a function of these three alone, even over [0, 1)."""
    return derive(seed, purpose, patient) / 2**31


def assign(
    places: Mapping[str, float], bounds: Sequence[float], strata: Mapping[str, str], seats: int = 1
) -> dict[str, int]:
    """The part of each patient: part k is the range from bounds[k] to bounds[k + 1] (the first 0, the last 1).

    Every stratum with a patient for each part is in every part: a part that nobody of the stratum falls into borrows
    the one nearest to its range, be it the only one of another part, which then borrows in turn. Where no stratum is
    that large, all patients together are treated as one, so that no part is empty as long as there are as many patients
    as parts. seats: patients that a part needs (where the stratum has that many for each).
    """
    parts = len(bounds) - 1
    groups: dict[str, list[str]] = defaultdict(list)
    for name in places:
        groups[strata.get(name, "")].append(name)
    large = [names for names in groups.values() if len(names) >= parts]
    if not large and len(places) >= parts:
        large = [list(places)]
    part = {name: _home(at, bounds) for name, at in places.items()}
    for names in large:
        per_part = max(1, min(seats, len(names) // parts))
        part |= _seated({name: places[name] for name in names}, bounds, per_part)
    return part


def _home(at: float, bounds: Sequence[float]) -> int:
    return bisect_right(bounds, at) - 1


def _seated(places: Mapping[str, float], bounds: Sequence[float], seats: int) -> dict[str, int]:
    """Who holds the seats of each part; all others are at home.

    Deferred acceptance (Gale and Shapley 1962): seats ask their own patients first, then others from the nearest on; a
    patient would rather be borrowed than sit at home. In such a matching one patient more is never worse for any seat
    (Gale and Sotomayor 1985). As a seat at home never holds a patient back, it follows that a patient who is not
    borrowed stays at home whoever is added; choosing lenders by what they can spare would not have this property.
    """
    home = {name: _home(at, bounds) for name, at in places.items()}
    wanted = [
        sorted(places, key=lambda name: (home[name] != part, max(low - places[name], places[name] - high, 0.0), name))
        for part, (low, high) in enumerate(pairwise(bounds))
    ]
    asked = [0] * (len(wanted) * seats)
    holder: dict[str, int] = {}
    open_seats = list(range(len(asked)))
    while open_seats:
        seat = open_seats.pop()
        part = seat // seats
        name = wanted[part][asked[seat]]
        asked[seat] += 1
        rivals = [seat] if name not in holder else [seat, holder[name]]
        holder[name] = min(rivals, key=lambda one: (one // seats == home[name], one))
        open_seats += [one for one in rivals if one != holder[name]]
    return {name: seat // seats for name, seat in holder.items()}
