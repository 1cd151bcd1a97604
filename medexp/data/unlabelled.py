"""Cases without a label beside labelled ones in every batch of training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from medexp.data.cases import Item, TrainCases
from medexp.data.order import Draw, EpochOrder
from medexp.errors import UserError
from medexp.seeding import derive

Change = Callable[[Item, int], Item]
STRONG = "strong"  # key of the strong view


class Unlabelled:
    """How cases without a label come into batches: as batch["unlabelled"], a batch of its own that has no label.

    per_batch: so many a step and rank, beside the `batch_size` labelled ones; an epoch is all of them once. strong: a change
    of the image alone that is made on top of the augmentation: the strong view, "strong" beside "image"; None: there is none.
    """

    def __init__(self, per_batch: int, strong: Change | None = None) -> None:
        if per_batch < 1:
            raise UserError(f"dataset.unlabelled.per_batch: {per_batch} is less than 1")
        self.per_batch, self.strong = per_batch, strong

    def views(self, augmentation: Change | None) -> Change | None:
        """The augmentation of these cases: that of labelled ones, and the strong view."""
        if self.strong is None:
            return augmentation
        strong = self.strong

        def change(item: Item, seed: int) -> Item:
            weak = item if augmentation is None else augmentation(item, seed)
            view = strong({"image": weak["image"]}, derive(seed, STRONG))["image"]
            if view.shape != weak["image"].shape:
                raise UserError(
                    f"dataset.unlabelled.strong: makes an image of {tuple(view.shape)} of {tuple(weak['image'].shape)}; "
                    "choose a change that keeps the shape"
                )
            return {**weak, STRONG: view}

        return change


class Beside(Dataset[Item]):
    """Labelled cases, and from their number on those without a label."""

    def __init__(self, labelled: TrainCases, bare: TrainCases) -> None:
        self.labelled, self.bare = labelled, bare

    def __len__(self) -> int:
        return len(self.labelled) + len(self.bare)

    def __getitem__(self, draw: Draw) -> Item:
        first = len(self.labelled)
        return self.labelled[draw] if draw.index < first else self.bare[replace(draw, index=draw.index - first)]


class BesideOrder(EpochOrder):
    """The draws of an epoch as f(seed, epoch), one shard a rank: in every batch `batch_size` of `count` labelled cases, then
    `per_batch` of `bare` others, whose indices follow those of the labelled.

    An epoch is all of the others once, less what would be no whole batch. The labelled start over, in a new order, as often as
    that takes, with `weights` in these proportions.
    """

    def __init__(self, *args: Any, bare: int, batch_size: int, per_batch: int, **options: Any) -> None:
        super().__init__(*args, **options)
        self.batch_size = batch_size
        self.others = EpochOrder(bare, derive(self.seed, "unlabelled"), self.rank, self.ranks)
        self.per_batch = min(per_batch, len(self.others))

    @property
    def batch(self) -> int:
        """Cases a batch."""
        return self.batch_size + self.per_batch

    @property
    def steps(self) -> int:
        """Batches an epoch."""
        return len(self.others) // self.per_batch

    def __len__(self) -> int:
        return self.steps * self.batch

    def draws(self) -> list[Draw]:
        self.others.set_epoch(self.epoch)
        others = [replace(draw, index=draw.index + self.count) for draw in self.others.draws()]
        labelled = self._labelled(self.steps * self.batch_size * self.ranks)
        found = []
        for step in range(self.steps):
            found += labelled[step * self.batch_size :][: self.batch_size]
            found += others[step * self.per_batch :][: self.per_batch]
        return found

    def _labelled(self, total: int) -> list[Draw]:
        """This rank's share of so many draws."""
        rng = np.random.default_rng(derive(self.seed, "order", self.epoch))
        if self.weights is None:
            passes = [rng.permutation(self.count) for _ in range(-(-total // self.count))]
            drawn = np.concatenate(passes)[:total]
        else:
            drawn = self._weighted(rng.permutation(self.count), total, rng)
        return self._counted(drawn.tolist())


def beside(
    labelled: TrainCases, bare: Sequence[Any], seed: int, patch_size: Sequence[int] | None, views: Change | None
) -> Beside:
    """Labelled cases with those of no label, whose patches are anywhere in the image and whose draws are their own."""
    others = TrainCases(bare, derive(seed, "unlabelled"), patch_size, 0.0, views, labelled.later)
    return Beside(labelled, others)
