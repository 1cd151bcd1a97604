"""Which cases an epoch draws, in what order, on which rank."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pytorch_lightning as pl
from torch.utils.data import Sampler

from medexp.data.splits.strata import rarest
from medexp.errors import UserError
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


@dataclass(frozen=True)
class Position:
    """How far an epoch has come: `batches` of `batch_size` draws consumed by each of `ranks`. All that resume needs."""

    epoch: int = 0
    batches: int = 0
    batch_size: int = 1
    ranks: int = 1

    @classmethod
    def of(cls, trainer: pl.Trainer, batch_size: int) -> Position:
        """Where the training of `trainer` stands between two steps, by Lightning's own counts."""
        epochs: Any = trainer.fit_loop.epoch_progress
        batches = trainer.fit_loop.epoch_loop.batch_progress
        under_way = epochs.total.started > epochs.total.processed
        done = batches.current.ready if under_way else 0
        return cls(epochs.current.processed, done, batch_size, trainer.world_size)

    def state_dict(self) -> dict[str, Any]:
        return asdict(self)

    def fits(self, batch_size: int, ranks: int) -> None:
        """Raises UserError where the rest of an epoch that is under way cannot be drawn in batches of this kind."""
        seen = {"dataset.batch_size": (self.batch_size, batch_size), "trainer.devices": (self.ranks, ranks)}
        for key, (was, now) in seen.items():
            if self.batches and was != now:
                raise UserError(
                    f"{key}: {now}, but the run was stopped in the middle of epoch {self.epoch + 1} with {was}; go on with {was}"
                )


NOTHING_DONE = Position()


@dataclass(frozen=True)
class Mixed:
    """Cases of another kind among those of an epoch: `pool` of them, indexed on from the others, of which each epoch draws
    `draws`. Over the epochs all come equally often: the pool is gone through, in a new order each time."""

    pool: int
    draws: int

    def drawn(self, seed: int, epoch: int, total: int) -> list[int]:
        """Places in the pool of the draws of an epoch, `total` of them: its own, then (so that ranks draw equally many) its
        first ones again."""
        begin = epoch * self.draws
        rounds = range(begin // self.pool, (begin + self.draws - 1) // self.pool + 1)
        orders = [np.random.default_rng(derive(seed, "mixed", each)).permutation(self.pool) for each in rounds]
        own = np.concatenate(orders)[begin - rounds[0] * self.pool :][: self.draws]
        return [int(place) for place in np.resize(own, total)]


class EpochOrder(Sampler[Draw]):
    """The draws of an epoch as f(seed, epoch), one shard a rank; every rank draws equally many.

    count: cases. weights: None draws every case `each` times (a few once more where `ranks` does not divide the draws); else
    one number >= 0 a case: cases are drawn in proportion to them, `each` times as many as there are cases. The draws are
    of all ranks together, so the proportions hold over all of them, and each rank has its share of the positions.
    Draws by weight are systematic (Madow 1949, Ann. Math. Stat. 20:333): with n draws a case of weight w comes n * w /
    sum(w) times, rounded down or up, and so do all cases of one weight taken together. Independent draws would miss the
    balance of classes by chance, the more the smaller the data set.
    start: where a resumed run goes on: of its epoch, and of no other, the draws that were consumed are left out.
    mixed: what else is drawn, at even distances among the cases of each rank, so that its share is that of any stretch
    of the epoch: also of a batch, and where the last draws make no batch and are dropped.
    Raises ValueError where the weights do not fit.
    """

    def __init__(
        self,
        count: int,
        seed: int,
        rank: int = 0,
        ranks: int = 1,
        weights: Sequence[float] | None = None,
        start: Position = NOTHING_DONE,
        each: int = 1,
        mixed: Mixed | None = None,
    ) -> None:
        self.count, self.seed, self.rank, self.ranks = count, seed, rank, ranks
        self.weights = None if weights is None else np.asarray(weights, float)
        if self.weights is not None:
            fit = self.weights.shape == (count,) and np.isfinite(self.weights).all() and (self.weights >= 0).all()
            if not fit or not self.weights.any():
                raise ValueError(f"weights must be one number >= 0 for each of {count} cases, not all of them 0")
        self.epoch, self.start, self.each, self.mixed = start.epoch, start, each, mixed

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self._a_rank(self.count * self.each) + (self._a_rank(self.mixed.draws) if self.mixed else 0)

    def _a_rank(self, draws: int) -> int:
        return -(-draws // self.ranks)

    def __iter__(self) -> Iterator[Draw]:
        done = self.start.batches * self.start.batch_size if self.epoch == self.start.epoch else 0
        return iter(self.draws()[done:])

    def draws(self) -> list[Draw]:
        """All draws of this rank in the epoch."""
        rng = np.random.default_rng(derive(self.seed, "order", self.epoch))
        order = rng.permutation(self.count)
        # The last ranks start over so that none waits for another.
        total = self._a_rank(self.count * self.each) * self.ranks
        drawn = np.resize(order, total) if self.weights is None else self._weighted(order, total, rng)
        own = self._counted(drawn.tolist())
        if self.mixed is None:
            return own
        places = self.mixed.drawn(self.seed, self.epoch, self._a_rank(self.mixed.draws) * self.ranks)
        return spread(own, self._counted([self.count + place for place in places]))

    def _counted(self, drawn: list[int]) -> list[Draw]:
        """This rank's share, each with how often its case has come before."""
        came: Counter[int] = Counter()
        draws = []
        for index in drawn:
            draws.append(Draw(self.epoch, index, came[index]))
            came[index] += 1
        return draws[self.rank :: self.ranks]

    def _weighted(self, order: np.ndarray, total: int, rng: np.random.Generator) -> np.ndarray:
        """`total` cases in proportion to their weights: marks at even distances on the line of all weights, shuffled."""
        assert self.weights is not None
        order = order[np.argsort(self.weights[order], kind="stable")]  # equal weights side by side, at random within
        ends = np.cumsum(self.weights[order])
        marks = (np.arange(total) + rng.random()) / total * ends[-1]
        return rng.permutation(order[np.searchsorted(ends[:-1], marks, side="right")])


def spread(many: list[Draw], few: list[Draw]) -> list[Draw]:
    """Both in one list, each in its order and at even distances: of the first n there are n * its share, rounded down or up."""
    total, rest, more = len(many) + len(few), iter(many), iter(few)
    ends = [place * len(few) // total for place in range(total + 1)]
    return [next(more) if ends[place + 1] > ends[place] else next(rest) for place in range(total)]


def class_weights_of(classes: Sequence[str | Sequence[str]]) -> list[float]:
    """Weights (sum 1) for EpochOrder with which every class is drawn equally often.

    classes: each case's class, or its several; then it counts as the rarest of them, and cases of none are a class too.
    """
    names = rarest([[entry] if isinstance(entry, str) else entry for entry in classes])
    tally = Counter(names)
    return [1 / (len(tally) * tally[name]) for name in names]
