"""Cases as batches: the training set with its stateless draws, and the evaluation set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from medexp.data import boxes, frames
from medexp.data.boxes import BOXES
from medexp.data.order import Draw
from medexp.data.splits.unlabelled import UNLABELLED
from medexp.data.store.entries import Kept
from medexp.seeding import derive

Item = dict[str, Any]
Corner = tuple[int, ...]
SEED = "augmentation_seed"  # key of a batch whose augmentation was left to `augmented`


class TrainCases(Dataset[Item]):
    """Random patches of prepared cases, augmented; all draws are f(seed, epoch, index, repeat).

    cases: facts of each (case_id, target, ...) and its prepared arrays. Only the voxels of the patch are read.
    patch_size: None for whole images. foreground: share of patches around a voxel of a foreground class, each class as
    often as the others. later: items carry the seed of their augmentation, for `augmented`, in place of its effect.
    """

    def __init__(
        self,
        cases: Sequence[tuple[Item, Kept]],
        seed: int,
        patch_size: Sequence[int] | None,
        foreground: float,
        augmentation: Callable[[Item, int], Item] | None,
        later: bool = False,
    ) -> None:
        self.cases, self.seed, self.augmentation, self.later = cases, seed, augmentation, later
        self.patch_size = None if patch_size is None else tuple(patch_size)
        self.foreground = foreground

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, draw: Draw) -> Item:
        facts, kept = self.cases[draw.index]
        place = (draw.epoch, draw.index, *([draw.repeat] if draw.repeat else ()))
        if self.patch_size is None:
            item: Item = {name: torch.from_numpy(kept.read(name)) for name in _tensors(kept)}
            item |= {key: facts[key] for key in BOXES if key in facts}  # they move with the image
        else:
            rng = np.random.default_rng(derive(self.seed, "patch", *place))
            corner = self._corner(kept, rng, facts)
            item = crop(kept, self.patch_size, corner)
            if "boxes" in facts:
                item |= boxes.in_patch(facts, corner, self.patch_size, kept.shape("image")[1:])
        if "present" in facts:  # modalities may be taken away
            item["present"] = facts["present"]
        if self.augmentation is not None:
            seed = derive(self.seed, "augmentation", *place)
            item = {**item, SEED: seed} if self.later else self.augmentation(item, seed)
        return {**facts, **item}

    def _corner(self, kept: Kept, rng: np.random.Generator, facts: Item) -> Corner:
        """First voxel of the patch: around a voxel of a random foreground class, or a random object, in `foreground` of the
        draws, anywhere else."""
        assert self.patch_size is not None
        free = [max(size - patch, 0) for size, patch in zip(kept.shape("image")[1:], self.patch_size, strict=True)]
        corner = [int(rng.integers(0, room + 1)) for room in free]
        ranges = list(kept.facts.get("places", {}).values())
        if any(free) and (ranges or len(facts.get("boxes", ()))) and rng.random() < self.foreground:
            if ranges:
                place = int(rng.integers(*ranges[rng.integers(len(ranges))]))
                centre = kept.read("places", (slice(place, place + 1),))[0].tolist()
            else:
                centre = boxes.an_object(facts, rng)
            pairs = zip(centre, self.patch_size, free, strict=True)
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

    def __init__(self, cases: Sequence[tuple[Item, Kept]], paired: Callable[[Item], Item] = lambda item: item) -> None:
        self.cases, self.paired = cases, paired

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, index: int) -> Item:
        facts, kept = self.cases[index]
        return self.paired({**{name: torch.from_numpy(kept.read(name)) for name in _tensors(kept)}, **facts})


def collate(items: list[Item]) -> Item:
    """Tensors stacked (boxes padded to one number, see data/boxes.py; studies of frames to the longest, see
    data/frames.py), everything else in lists. Items without a label are a batch of their own, "unlabelled", within that of the others."""
    bare = [{key: value for key, value in item.items() if key != UNLABELLED} for item in items if UNLABELLED in item]
    if bare:
        return {**collate([item for item in items if UNLABELLED not in item]), UNLABELLED: collate(bare)}
    items = frames.unfolded(items)
    first = items[0]
    padded = {key: pad_sequence([item[key] for item in items], True, boxes.PADDING) for key in BOXES if key in first}
    padded |= frames.padded(items)
    return padded | {
        key: torch.stack([item[key] for item in items])
        if isinstance(first[key], Tensor)
        else [item[key] for item in items]
        for key in first
        if key not in padded
    }


def in_turn(*changes: Callable[[Item, int], Item] | None) -> Callable[[Item, int], Item] | None:
    """One change of items that makes all of these, each from the same seed; None where there is none."""
    there = [change for change in changes if change is not None]
    if len(there) < 2:
        return there[0] if there else None

    def change(item: Item, seed: int) -> Item:
        for one in there:
            item = one(item, seed)
        return item

    return change


def augmented(batch: Item, augmentation: Callable[[Item, int], Item] | None) -> Item:
    """A batch whose augmentation TrainCases left for later, augmented item by item on the device where it lies; any other
    as it came. The seeds are those of the workers, and so are the draws."""
    if augmentation is None or SEED not in batch:
        return batch
    seeds = batch.pop(SEED)
    items = [{key: values[index] for key, values in batch.items()} for index in range(len(seeds))]
    return collate([augmentation(item, seed) for item, seed in zip(items, seeds, strict=True)])
