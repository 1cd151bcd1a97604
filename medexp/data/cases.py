"""Cases as batches: the training set with its stateless draws, the evaluation set, and the order of an epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from medexp.data.prepare import Prepared
from medexp.seeding import derive

Item = dict[str, Any]


class EpochOrder(Sampler[tuple[int, int]]):
    """(epoch, index) pairs, shuffled by f(seed, epoch), one shard a rank; every rank draws equally many.

    The pair tells the workers which epoch it is, persistent or not.
    """

    def __init__(self, count: int, seed: int, rank: int = 0, ranks: int = 1) -> None:
        self.count, self.seed, self.rank, self.ranks = count, seed, rank, ranks
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.count // self.ranks)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.random.default_rng(derive(self.seed, "order", self.epoch)).permutation(self.count)
        filled = np.resize(order, len(self) * self.ranks)  # the last ranks start over so that none waits for another
        return iter([(self.epoch, int(index)) for index in filled[self.rank :: self.ranks]])


class TrainCases(Dataset[Item]):
    """Random patches of prepared cases, augmented; all draws are f(seed, epoch, index)."""

    def __init__(
        self,
        cases: Sequence[tuple[Item, Prepared]],
        seed: int,
        patch_size: Sequence[int] | None,
        foreground: float,
        augmentation: Callable[[Item, int], Item] | None,
    ) -> None:
        self.cases, self.seed, self.augmentation = cases, seed, augmentation
        self.patch_size = None if patch_size is None else tuple(patch_size)
        self.foreground = foreground

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, key: tuple[int, int]) -> Item:
        epoch, index = key
        facts, prepared = self.cases[index]
        item: Item = {"image": prepared.image}
        if prepared.label is not None:
            item["label"] = prepared.label
        if self.patch_size is not None:
            rng = np.random.default_rng(derive(self.seed, "patch", epoch, index))
            item = crop(item, self.patch_size, self._corner(item, rng))
        else:
            item = {key: tensor.clone() for key, tensor in item.items()}  # what comes after may write in place
        if self.augmentation is not None:
            item = self.augmentation(item, derive(self.seed, "augmentation", epoch, index))
        return {**item, **facts}

    def _corner(self, item: Item, rng: np.random.Generator) -> tuple[int, ...]:
        """First voxel of the patch: around a voxel of a random foreground class in `foreground` of the draws, anywhere else."""
        assert self.patch_size is not None
        shape = item["image"].shape[1:]
        free = [max(size - patch, 0) for size, patch in zip(shape, self.patch_size, strict=True)]
        corner = [int(rng.integers(0, room + 1)) for room in free]
        if any(free) and "label" in item and rng.random() < self.foreground:
            label = item["label"][0].numpy()
            present = np.unique(label[label > 0])
            if len(present):
                places = np.flatnonzero(label == rng.choice(present))
                centre = np.unravel_index(int(rng.choice(places)), label.shape)
                pairs = zip(centre, self.patch_size, free, strict=True)
                corner = [int(np.clip(place - patch // 2, 0, room)) for place, patch, room in pairs]
        return tuple(corner)


def crop(item: Item, patch_size: tuple[int, ...], corner: tuple[int, ...]) -> Item:
    """The patch at `corner` of image and label; axes shorter than the patch are padded evenly by repeating the edge.

    The inferers pad alike: a network with instance norm that learnt beside a frame of one value would meet other
    statistics later.
    """
    cut = (slice(None), *(slice(start, start + size) for start, size in zip(corner, patch_size, strict=True)))
    patches: Item = {}
    for key, tensor in item.items():
        patch: Tensor = tensor[cut]
        missing = [size - have for size, have in zip(patch_size, patch.shape[1:], strict=True)]
        if any(missing):
            padding = [side for gap in reversed(missing) for side in (gap // 2, gap - gap // 2)]
            patch = F.pad(patch[None].float(), padding, mode="replicate")[0].to(tensor.dtype)
        patches[key] = patch.clone()
    return patches


class EvalCases(Dataset[Item]):
    """Prepared cases whole, in order."""

    def __init__(self, cases: Sequence[tuple[Item, Prepared]]) -> None:
        self.cases = cases

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, index: int) -> Item:
        facts, prepared = self.cases[index]
        item: Item = {"image": prepared.image, **facts}
        if prepared.label is not None:
            item["label"] = prepared.label
        return item


def collate(items: list[Item]) -> Item:
    """Tensors stacked, everything else in lists."""
    first = items[0]
    return {
        key: torch.stack([item[key] for item in items])
        if isinstance(first[key], Tensor)
        else [item[key] for item in items]
        for key in first
    }
