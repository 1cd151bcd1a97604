"""What a task may ask of the training split beside its batches, to estimate what no gradient finds (a baseline hazard)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from medexp.data.cases import EvalCases, Item
from medexp.data.frames import Frames
from medexp.data.loading import Resumable, loader
from medexp.data.splits.unlabelled import UNLABELLED

if TYPE_CHECKING:
    from medexp.data.store.entries import Kept


class TrainingSplit(Resumable):
    """The training cases as validation sees its own: whole, in order, not augmented."""

    _cases: dict[str, list[tuple[Item, Kept]]]
    timeout: float
    sequence: Frames | None

    @property
    def eval_batch_size(self) -> int:
        """Cases that go through the network together outside of training."""
        return 1

    def training_targets(self) -> Tensor:
        """(N, ...) of a data module that is set up; of studies with a value a frame, the last that is known and those to
        predict (N, 1 + horizon)."""
        targets = [facts["target"] for facts, _ in self._cases["train"]]
        if self.sequence is not None and self.sequence.horizon:
            targets = [values[-self.sequence.horizon - 1 :] for values in targets]
        return torch.stack(targets)

    def training_sizes(self) -> list[tuple[int, ...]]:
        """Sizes (voxels) of the prepared images that are learnt from, each once; none of studies of several frames."""
        if self.sequence is not None:
            return []
        cases = [*self._cases["train"], *self._cases.get(UNLABELLED, ())]
        return sorted({kept.shape("image")[1:] for _, kept in cases})

    def training_boxes(self) -> Tensor:
        """(N, 2 * axes): the boxes of all training cases on their prepared grids."""
        return torch.cat([facts["boxes"] for facts, _ in self._cases["train"]])

    def training_cases(self) -> Iterator[Item]:
        """Batches of this rank's share, on the CPU."""
        rank, ranks = self.ranks()
        shard = EvalCases(self._cases["train"][rank::ranks])
        return iter(loader(shard, 0, self.timeout, batch_size=self.eval_batch_size, shuffle=False))
