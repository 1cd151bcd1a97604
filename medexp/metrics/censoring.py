"""Concordance, time-dependent AUC and Brier score where follow-up may be censored.

Own code on scipy: the library that is light enough (torchsurv) needs torch.jit.script, which torch gives up, and draws its
bootstrap from torch's global generator; scikit-survival and lifelines bring solvers and formulae along. The values are
theirs (tests/metrics/test_censoring.py).

time (N,): of the event or of the end of follow-up; came (N,): whether the event came; risk (N,): the higher, the sooner.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import stats

Array = np.ndarray[Any, Any]


def comparable(time: Array, came: Array) -> Array:
    """(N, N): whether the first is known to have the event before the second."""
    later = time[None, :] > time[:, None]
    censored_then = (time[None, :] == time[:, None]) & ~came[None, :]
    return came[:, None] & (later | censored_then)


def concordant(risk: Array) -> Array:
    """(N, N): 1 where the first has the higher risk, a half where both are equal."""
    return (risk[:, None] > risk[None, :]) + 0.5 * (risk[:, None] == risk[None, :])


def concordance(risk: Array, time: Array, came: Array, weight: Array | None = None) -> float | None:
    """Share of comparable pairs in which who has the event first has the higher risk (Harrell et al. 1996,
    doi:10.1002/(SICI)1097-0258(19960229)15:4<361::AID-SIM168>3.0.CO;2-4); None without any such pair.

    weight: of each case as the first of a pair; the squared weights against censoring give Uno's (Uno et al. 2011,
    doi:10.1002/sim.4154).
    """
    pairs = comparable(time, came) * (1.0 if weight is None else weight[:, None])
    return float((pairs * concordant(risk)).sum() / pairs.sum()) if pairs.any() else None


def bootstrap(risk: Array, time: Array, came: Array, resamples: int, seed: int) -> list[float] | None:
    """95 % percentile interval of Harrell's concordance over cases drawn with replacement (Efron 1979)."""
    pairs = comparable(time, came).astype(float)
    size = len(risk)
    counts = np.random.default_rng(seed).multinomial(size, np.full(size, 1 / size), size=resamples).astype(float)
    sums = [(counts @ table * counts).sum(1) for table in (pairs * concordant(risk), pairs)]  # (resamples,)
    values = sums[0][sums[1] > 0] / sums[1][sums[1] > 0]
    return [round(float(value), 6) for value in np.percentile(values, (2.5, 97.5))] if len(values) else None


def weights(time: Array, came: Array, at: Array) -> Array:
    """Inverse probability of not being censored until each of the times `at` (Kaplan-Meier; of cases at one time,
    events come before censorings); 0 where nobody is left uncensored."""
    times = np.unique(time)
    gone = np.array([(~came & (time == t)).sum() for t in times])
    there = np.array([((time > t) | (~came & (time == t))).sum() for t in times])
    left = np.concatenate([[1.0], np.cumprod(1 - gone / np.maximum(there, 1))])
    share = left[np.searchsorted(times, at, side="right")]
    return np.divide(1.0, share, out=np.zeros_like(share), where=share > 0)


def auc(risk: Array, time: Array, came: Array, horizon: float) -> float | None:
    """Probability that who has had the event until `horizon` was given a higher risk than who has not (cumulative/dynamic;
    Uno et al. 2007, doi:10.1198/016214507000000149); None where one of both is missing."""
    weight = weights(time, came, time) * (came & (time <= horizon))
    pairs = weight[:, None] * (time > horizon)[None, :]
    return float((pairs * concordant(risk)).sum() / pairs.sum()) if pairs.any() else None


def brier(survival: Array, time: Array, came: Array, times: Array) -> Array:
    """(T,): mean squared error of survival (N, T) at times (T,), censoring weighted (Graf et al. 1999,
    doi:10.1002/(SICI)1097-0258(19990915/30)18:17/18<2529::AID-SIM274>3.0.CO;2-5)."""
    until, beyond = came[:, None] & (time[:, None] <= times), time[:, None] > times
    of_events, of_rest = weights(time, came, time)[:, None], weights(time, came, times)
    return (survival**2 * until * of_events + (1 - survival) ** 2 * beyond * of_rest).mean(0)


def kaplan_meier(time: Array, came: Array) -> Any:
    """scipy's survival function: `.evaluate(times)`, `.confidence_interval()`."""
    return stats.ecdf(_sample(time, came)).sf


def logrank(first: tuple[Array, Array], second: tuple[Array, Array]) -> float | None:
    """p value of the log-rank test on times and events of two groups; None where a group is empty or there is no event."""
    if any(len(time) == 0 for time, _ in (first, second)) or not any(came.any() for _, came in (first, second)):
        return None
    return float(stats.logrank(_sample(*first), _sample(*second)).pvalue)


def _sample(time: Array, came: Array) -> Any:
    return stats.CensoredData.right_censored(time, ~came)
