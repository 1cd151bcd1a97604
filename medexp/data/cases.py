"""Cases as batches: the training set with its stateless draws, and the evaluation set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from medexp.data.order import Draw
from medexp.data.store.entries import Kept
from medexp.seeding import derive

Item = dict[str, Any]
Corner = tuple[int, ...]


class TrainCases(Dataset[Item]):
    """Random patches of prepared cases, augmented; all draws are f(seed, epoch, index, repeat).

    cases: facts of each (case_id, target, ...) and its prepared arrays. Only the voxels of the patch are read.
    patch_size: None for whole images. foreground: share of patches around a voxel of a foreground class, each class as
    often as the others.
    """

    def __init__(
        self,
        cases: Sequence[tuple[Item, Kept]],
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

    def __getitem__(self, draw: Draw) -> Item:
        facts, kept = self.cases[draw.index]
        place = (draw.epoch, draw.index, *([draw.repeat] if draw.repeat else ()))
        if self.patch_size is None:
            item: Item = {name: torch.from_numpy(kept.read(name)) for name in _tensors(kept)}
        else:
            rng = np.random.default_rng(derive(self.seed, "patch", *place))
            item = crop(kept, self.patch_size, self._corner(kept, rng))
        if self.augmentation is not None:
            item = self.augmentation(item, derive(self.seed, "augmentation", *place))
        return {**item, **facts}

    def _corner(self, kept: Kept, rng: np.random.Generator) -> Corner:
        """First voxel of the patch: around a voxel of a random foreground class in `foreground` of the draws, anywhere else."""
        assert self.patch_size is not None
        free = [max(size - patch, 0) for size, patch in zip(kept.shape("image")[1:], self.patch_size, strict=True)]
        corner = [int(rng.integers(0, room + 1)) for room in free]
        ranges = list(kept.facts.get("places", {}).values())
        if any(free) and ranges and rng.random() < self.foreground:
            place = int(rng.integers(*ranges[rng.integers(len(ranges))]))
            centre = kept.read("places", (slice(place, place + 1),))[0]
            pairs = zip(centre.tolist(), self.patch_size, free, strict=True)
            corner = [int(np.clip(voxel - patch // 2, 0, room)) for voxel, patch, room in pairs]
        return tuple(corner)


def crop(kept: Kept, patch_size: Sequence[int], corner: Corner) -> Item:
    """The patch at `corner` of image and label; axes shorter than the patch are padded evenly by repeating the edge.

    The inferers pad alike: a network with instance norm that learnt beside a frame of one value would meet other
    statistics later.
    """
    cut = (slice(None), *(slice(start, start + size) for start, size in zip(corner, patch_size, strict=True)))
    patches: Item = {}
    for name in _tensors(kept):
        patch = torch.from_numpy(kept.read(name, cut))
        missing = [size - have for size, have in zip(patch_size, patch.shape[1:], strict=True)]
        if any(missing):
            padding = [side for gap in reversed(missing) for side in (gap // 2, gap - gap // 2)]
            patch = F.pad(patch[None].float(), padding, mode="replicate")[0].to(patch.dtype)
        patches[name] = patch
    return patches


def _tensors(kept: Kept) -> list[str]:
    return [name for name in ("image", "label") if name in kept]


class EvalCases(Dataset[Item]):
    """Prepared cases whole, in order."""

    def __init__(self, cases: Sequence[tuple[Item, Kept]]) -> None:
        self.cases = cases

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, index: int) -> Item:
        facts, kept = self.cases[index]
        return {**{name: torch.from_numpy(kept.read(name)) for name in _tensors(kept)}, **facts}


def collate(items: list[Item]) -> Item:
    """Tensors stacked, everything else in lists."""
    first = items[0]
    return {
        key: torch.stack([item[key] for item in items])
        if isinstance(first[key], Tensor)
        else [item[key] for item in items]
        for key in first
    }
