"""What is known of phantom patients beside their images, and an outcome that hangs on both: neither says all of it."""

from __future__ import annotations

import math

from medexp.data.phantom.anatomy import generator, has_lesions

PURPOSE = 12  # of the random stream, so that no other draw moves
MEAN, SPREAD = 60.0, 11.0  # years
UNSAID = 0.05  # share of patients without an age
LESIONS, AGE = 4.0, 2.0  # log odds of a poor outcome: with against without lesions, and a standard deviation of age


def covariates(seed: int, patient: int) -> dict[str, str | None]:
    """Age in years and sex (F, M) of a patient: f(seed, patient), as cells of a table. Sex says nothing of the outcome."""
    age, sex, said, _ = _drawn(seed, patient)
    return {"age": f"{age:.1f}" if said else None, "sex": sex}


def outcome(seed: int, patient: int) -> str:
    """ "poor" or "good": f(seed, patient), by a logistic model of lesions and age. A patient of mean age has even odds half
    way between with and without lesions."""
    age, _, _, draw = _drawn(seed, patient)
    log_odds = LESIONS * (has_lesions(seed, patient) - 0.5) + AGE * (age - MEAN) / SPREAD
    return "poor" if draw < 1 / (1 + math.exp(-log_odds)) else "good"


def _drawn(seed: int, patient: int) -> tuple[float, str, bool, float]:
    rng = generator(PURPOSE, patient, 0, seed)
    age, sex = MEAN + SPREAD * float(rng.standard_normal()), "FM"[int(rng.integers(2))]
    return age, sex, bool(rng.random() >= UNSAID), float(rng.random())
