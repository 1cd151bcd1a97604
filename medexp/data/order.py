"""Which cases an epoch draws, in what order, on which rank."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Sampler

from medexp.data.splits.strata import rarest
from medexp.seeding import derive


@dataclass(frozen=True)
class Draw:
    """One training item: the case at `index`, for the `repeat`-th time (from 0, over all ranks) in `epoch`.

    It tells the workers which epoch it is, persistent or not, and is all that the item's random draws depend on; as no
    two items of a training share it, no two show the same patch under the same augmentation.
    """

    epoch: int
    index: int
    repeat: int = 0


class EpochOrder(Sampler[Draw]):
    """The draws of an epoch as f(seed, epoch), one shard a rank; every rank draws equally many.

    count: cases. weights: None draws every case once (a few twice where `ranks` does not divide them); else one number
    >= 0 a case: cases are drawn in proportion to them, as many as there are cases. The draws are of all ranks together,
    so the proportions hold over all of them, and each rank has its share of the positions.
    Draws by weight are systematic (Madow 1949, Ann. Math. Stat. 20:333): with n draws a case of weight w comes n * w /
    sum(w) times, rounded down or up, and so do all cases of one weight taken together. Independent draws would miss the
    balance of classes by chance, the more the smaller the data set.
    Raises ValueError where the weights do not fit.
    """

    def __init__(
        self, count: int, seed: int, rank: int = 0, ranks: int = 1, weights: Sequence[float] | None = None
    ) -> None:
        self.count, self.seed, self.rank, self.ranks = count, seed, rank, ranks
        self.weights = None if weights is None else np.asarray(weights, float)
        if self.weights is not None:
            fit = self.weights.shape == (count,) and np.isfinite(self.weights).all() and (self.weights >= 0).all()
            if not fit or not self.weights.any():
                raise ValueError(f"weights must be one number >= 0 for each of {count} cases, not all of them 0")
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.count // self.ranks)

    def __iter__(self) -> Iterator[Draw]:
        rng = np.random.default_rng(derive(self.seed, "order", self.epoch))
        order = rng.permutation(self.count)
        total = len(self) * self.ranks  # the last ranks start over so that none waits for another
        drawn = np.resize(order, total) if self.weights is None else self._weighted(order, total, rng)
        came: Counter[int] = Counter()
        draws = []
        for index in drawn.tolist():
            draws.append(Draw(self.epoch, index, came[index]))
            came[index] += 1
        return iter(draws[self.rank :: self.ranks])

    def _weighted(self, order: np.ndarray, total: int, rng: np.random.Generator) -> np.ndarray:
        """`total` cases in proportion to their weights: marks at even distances on the line of all weights, shuffled."""
        assert self.weights is not None
        order = order[np.argsort(self.weights[order], kind="stable")]  # equal weights side by side, at random within
        ends = np.cumsum(self.weights[order])
        marks = (np.arange(total) + rng.random()) / total * ends[-1]
        return rng.permutation(order[np.searchsorted(ends[:-1], marks, side="right")])


def class_weights_of(classes: Sequence[str | Sequence[str]]) -> list[float]:
    """Weights (sum 1) for EpochOrder with which every class is drawn equally often.

    classes: each case's class, or its several; then it counts as the rarest of them, and cases of none are a class too.
    """
    names = rarest([[entry] if isinstance(entry, str) else entry for entry in classes])
    tally = Counter(names)
    return [1 / (len(tally) * tally[name]) for name in names]
