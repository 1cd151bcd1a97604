"""Cases of a data set that is set up, served as batches of training and validation."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset

from medexp.data import tally, unpaired
from medexp.data.balance import Balance, case_weights
from medexp.data.cases import EvalCases, Item, TrainCases, augmented, in_turn
from medexp.data.preparation.prepare import Preparation
from medexp.data.records import Record
from medexp.data.splits.unlabelled import UNLABELLED
from medexp.data.synthetic import Synthetic
from medexp.data.training import TrainingSplit, loader
from medexp.data.unlabelled import STRONG, BesideOrder, Unlabelled, beside
from medexp.seeding import derive


class Serving(TrainingSplit):
    """What a data module does with its prepared cases; the options are those of the data module."""

    preparation: Preparation
    patch_size: Sequence[int] | None
    foreground: float
    balance: Balance
    classes: list[str]
    target: str
    seed: int
    batch_size: int
    draws: int
    root: Path
    about: Mapping[str, Any]
    num_workers: int
    augmentation: Callable[[Item, int], Item] | None
    degradation: Callable[[Item, int], Item] | None
    augment_on_device: bool
    unlabelled: Unlabelled | None
    synthetic: Synthetic | None

    @abstractmethod
    def parts(self) -> dict[str, list[Record]]:
        """Records of train, val and test."""

    def paired(self, item: Item, labelled: bool = True) -> Item:
        """A whole case with the image that is to be restored from a degraded one; unlabelled, the image is what it is, less
        the channels that are not given, and of super-resolution on the finer grid that is to be filled."""
        if self.degradation is None:
            return item
        if not labelled:
            given: Callable[..., Item] | None = getattr(self.degradation, "given", None)
            return item if given is None else given(item, coarse=self.preparation.as_scanned)
        return self.degradation(item, derive(self.seed, "degradation", item["case_id"]))

    def train_dataloader(self) -> DataLoader[Item]:
        kept, more = self._cases["train"], self._cases.get("synthetic", [])
        change = in_turn(self.augmentation, self.degradation)
        cases = TrainCases([*kept, *more], self.seed, self.patch_size, self.foreground, change, self.augment_on_device)
        weights = case_weights(self.balance, kept, self.parts()["train"], self.classes, self.target)
        served: Dataset[Item] = cases
        if self.unlabelled is not None:
            return self._beside(cases, weights, self.unlabelled)
        if unpaired.wanted(self.degradation):
            first, second = unpaired.sets(self.parts()["train"], self.degradation, self.seed)
            served, weights = unpaired.Unpaired(cases, second, self.seed), unpaired.weights(len(kept), first)
        mixed = None if self.synthetic is None else self.synthetic.mixed(len(kept) * self.draws, len(more))
        order, batch = self.order(len(kept), self.seed, weights, self.batch_size, self.draws, mixed)
        return loader(served, self.num_workers, self.timeout, batch_size=batch, sampler=order, drop_last=True)

    def _beside(self, cases: TrainCases, weights: list[float] | None, unlabelled: Unlabelled) -> DataLoader[Item]:
        """Batches of labelled cases and of cases without a label."""
        bare, (rank, ranks) = self._cases[UNLABELLED], self.ranks()
        sizes = {"batch_size": self.batch_size, "per_batch": unlabelled.per_batch}
        order = BesideOrder(len(cases), self.seed, rank, ranks, weights, self._start, bare=len(bare), **sizes)
        self.follow(order, order.batch)
        both = beside(cases, bare, self.seed, self.patch_size, unlabelled.views(cases.augmentation))
        return loader(both, self.num_workers, self.timeout, batch_size=order.batch, sampler=order, drop_last=True)

    def cases_waited_for(self) -> list[str]:
        """Case ids of the training batch that was due when an exception ended the training."""
        cases = [case for part in ("train", "synthetic", UNLABELLED) for case in self._cases.get(part, ())]
        return [cases[draw.index][0]["case_id"] for draw in self.waited_for]

    def val_dataloader(self) -> DataLoader[Item]:
        cases, (rank, ranks) = self._cases["val"], self.ranks()
        shard = cases[rank::ranks] or [({**cases[0][0], "repeated": True}, cases[0][1])]  # in step with the others
        options = {"batch_size": self.eval_batch_size, "shuffle": False}
        return loader(EvalCases(shard, self.paired), self.num_workers, self.timeout, **options)

    @property
    def eval_batch_size(self) -> int:  # images of one size go together; others one at a time
        return self.batch_size if self.preparation.image_size is not None else 1

    def on_after_batch_transfer(self, batch: Item, dataloader_idx: int) -> Item:
        """Images travel from the store through workers to the device in half precision, and are float32 from here on."""
        change = in_turn(self.augmentation, self.degradation)
        if UNLABELLED in batch:
            assert self.unlabelled is not None
            bare = augmented(batch.pop(UNLABELLED), self.unlabelled.views(change))
            bare |= {key: bare[key].float() for key in ("image", STRONG) if key in bare}
            return {**self.on_after_batch_transfer(batch, dataloader_idx), UNLABELLED: bare}
        batch = augmented(batch, change)
        return {**batch, "image": batch["image"].float()}

    def class_counts(self) -> np.ndarray[Any, Any]:
        """Voxels (segmentation) or images a class in the training split, shape (K,); binary: (negative, positive)."""
        return tally.class_counts(self._cases["train"], len(self.classes), self.target)

    def describe(self) -> str:
        """One line on the split, for the log."""
        return tally.describe(self.root.name, self.parts(), self.target, self.about.get("licence"))
