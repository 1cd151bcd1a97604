"""Follow-up of phantom patients: the larger the lesions, the sooner the event."""

from __future__ import annotations

import math

from medexp.data.phantom.anatomy import generator

PURPOSE = 11  # of the random stream, so that no other draw moves
TYPICAL_ML = {2: 0.3, 3: 3.3}  # lesion volume of a median ill patient, ml (a 2D slice counts as 1 mm thick)
EFFECT = 2.0  # log hazard ratio of a typical lesion load against none
SCALE, SHAPE = 36.0, 1.5  # Weibull of patients without lesions: months
CENSORED = (8.0, 42.0)  # months of follow-up, uniform: about three of ten patients are censored


def follow_up(seed: int, patient: int, lesion_volume_ml: float, spatial_dims: int) -> list[float]:
    """[months to the event or to the end of follow-up, 1.0 where the event came]: f(seed, patient, lesion volume).

    Proportional hazards: a Weibull time whose log hazard grows with the volume (Bender et al. 2005,
    doi:10.1002/sim.2059), censored independently of it. To a tenth of a month, so that there are ties.
    """
    rng = generator(PURPOSE, patient, spatial_dims, seed)
    log_hazard = EFFECT * lesion_volume_ml / TYPICAL_ML[spatial_dims]
    time = SCALE * (-math.log(1 - rng.random()) * math.exp(-log_hazard)) ** (1 / SHAPE)
    end = rng.uniform(*CENSORED)
    return [max(round(min(time, end), 1), 0.1), float(time <= end)]
