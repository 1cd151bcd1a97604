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


class EpochOrder(Sampler[Draw]):
    """The draws of an epoch as f(seed, epoch), one shard a rank; every rank draws equally many.

    count: cases. weights: None draws every case once (a few twice where `ranks` does not divide them); else one number
    >= 0 a case: cases are drawn in proportion to them, as many as there are cases. The draws are of all ranks together,
    so the proportions hold over all of them, and each rank has its share of the positions.
    Draws by weight are systematic (Madow 1949, Ann. Math. Stat. 20:333): with n draws a case of weight w comes n * w /
    sum(w) times, rounded down or up, and so do all cases of one weight taken together. Independent draws would miss the
    balance of classes by chance, the more the smaller the data set.
    start: where a resumed run goes on: of its epoch, and of no other, the draws that were consumed are left out.
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
    ) -> None:
        self.count, self.seed, self.rank, self.ranks = count, seed, rank, ranks
        self.weights = None if weights is None else np.asarray(weights, float)
        if self.weights is not None:
            fit = self.weights.shape == (count,) and np.isfinite(self.weights).all() and (self.weights >= 0).all()
            if not fit or not self.weights.any():
                raise ValueError(f"weights must be one number >= 0 for each of {count} cases, not all of them 0")
        self.epoch, self.start = start.epoch, start

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.count // self.ranks)

    def __iter__(self) -> Iterator[Draw]:
        done = self.start.batches * self.start.batch_size if self.epoch == self.start.epoch else 0
        return iter(self.draws()[done:])

    def draws(self) -> list[Draw]:
        """All draws of this rank in the epoch."""
        rng = np.random.default_rng(derive(self.seed, "order", self.epoch))
        order = rng.permutation(self.count)
        total = len(self) * self.ranks  # the last ranks start over so that none waits for another
        drawn = np.resize(order, total) if self.weights is None else self._weighted(order, total, rng)
        came: Counter[int] = Counter()
        draws = []
        for index in drawn.tolist():
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


def class_weights_of(classes: Sequence[str | Sequence[str]]) -> list[float]:
    """Weights (sum 1) for EpochOrder with which every class is drawn equally often.

    classes: each case's class, or its several; then it counts as the rarest of them, and cases of none are a class too.
    """
    names = rarest([[entry] if isinstance(entry, str) else entry for entry in classes])
    tally = Counter(names)
    return [1 / (len(tally) * tally[name]) for name in names]
