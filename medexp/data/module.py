"""The one data path: a source's records, split by patient, checked, prepared once, served as batches."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from medexp.data import integrity
from medexp.data.cases import EpochOrder, EvalCases, Item, TrainCases, collate
from medexp.data.prepare import Preparation, Prepared
from medexp.data.progress import track
from medexp.data.records import Record
from medexp.data.splits import Split, check_split
from medexp.data.targets import encode
from medexp.errors import Faults, UserError

log = logging.getLogger(__name__)


class DataModule(pl.LightningDataModule):
    """A data set: where it is, how it is read, what is done to it.

    root: folder of the data set. source: `records(root)`, one of medexp/data/sources.
    provides: "mask" (a label map a case) or "class" (a class, several classes or a number a case).
    classes: names, index 0 first; of a segmentation the background.
    target: how the task wants it (see medexp/data/targets.py).
    orientation, spacing (mm), image_size (voxels), normalize: see medexp/data/prepare.py.
    patch_size: voxels that training sees at a time; None trains on whole images. foreground: share of patches placed
    on a foreground class. batch_size: patches (or images) a step and rank. limit: cases a part, for a quick look.
    split: `split(records, seed=...)` -> {"train": [...], "val": [...], "test": [...]}.
    """

    def __init__(
        self,
        root: str,
        source: Callable[[Path], list[Record]],
        spatial_dims: Literal[2, 3],
        in_channels: int,
        classes: Sequence[str],
        provides: Literal["mask", "class"],
        target: Literal["mask", "index", "binary", "multilabel"],
        split: Callable[..., Split],
        orientation: str | None = None,
        spacing: Sequence[float] | None = None,
        image_size: Sequence[int] | None = None,
        normalize: Callable[[Tensor], Tensor] | None = None,
        patch_size: Sequence[int] | None = None,
        foreground: float = 0.33,
        batch_size: int = 4,
        num_workers: int = 0,
        limit: int | None = None,
        augmentation: Callable[[Item, int], Item] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.root, self.source, self.splitter = Path(root), source, split
        self.classes, self.target, self.seed = list(classes), target, seed
        self.preparation = Preparation(spatial_dims, in_channels, orientation, spacing, image_size, normalize)
        if patch_size is not None and (len(patch_size) != spatial_dims or not all(size > 0 for size in patch_size)):
            seen = f"{list(patch_size)} is not a positive number for each of {spatial_dims} axes"
            raise UserError(f"dataset.patch_size: {seen}; mend it, or set it to null")
        if not 0 <= foreground <= 1:
            raise UserError(f"dataset.foreground: {foreground} is not between 0 and 1")
        self.patch_size, self.foreground, self.augmentation = patch_size, foreground, augmentation
        for key, least, value in (("batch_size", 1, batch_size), ("num_workers", 0, num_workers), ("limit", 1, limit)):
            if value is not None and value < least:
                raise UserError(f"dataset.{key}: {value} is less than {least}")
        self.batch_size, self.num_workers, self.limit = batch_size, num_workers, limit
        self.split: Split | None = None  # set beforehand to keep a split that was written earlier (resume, evaluate)
        self._cases: dict[str, list[tuple[Item, Prepared]]] = {}

    def records(self) -> list[Record]:
        """All records of the data set. Raises UserError where the source finds none."""
        found = self.source(self.root)
        if not found:
            raise UserError(f"dataset.root: no cases in {self.root}; set dataset.root=PATH or another dataset")
        twice = [case for case, count in Counter(record.case_id for record in found).items() if count > 1]
        if twice:
            raise Faults(f"{len(twice)} case ids stand twice in {self.root}", sorted(twice))
        return found

    def parts(self) -> dict[str, list[Record]]:
        """Records of train, val and test; the split is made once and kept in `self.split`."""
        records = {record.case_id: record for record in self.records()}
        if self.split is None:
            split = self.splitter(list(records.values()), seed=self.seed)
            self.split = {part: ids[: self.limit] for part, ids in split.items()}
        missing = [case for ids in self.split.values() for case in ids if case not in records]
        if missing:
            raise Faults(f"{len(missing)} cases of the split are not in {self.root}", missing)
        check_split(self.split, records.values())  # a split kept from earlier, or made by somebody else's function
        return {part: [records[case] for case in ids] for part, ids in self.split.items()}

    def setup(self, stage: str | None = None) -> None:
        """Reads and checks every case of the split, once; those of training and validation are kept prepared."""
        if not self._cases:
            parts = self.parts()
            kept = parts["train"] + parts["val"]
            cases = self._load(kept, parts["test"])
            count = len(parts["train"])
            self._cases = {"train": cases[:count], "val": cases[count : len(kept)]}

    def _load(self, kept: list[Record], tested: list[Record]) -> list[tuple[Item, Prepared]]:
        """Every case read to its end; all that cannot be are listed together. Those of the test split are let go again."""
        records = kept + tested
        held = {record.case_id for record in kept}

        def one(record: Record) -> tuple[Item, Prepared] | str | None:
            try:
                loaded = self.load(record)
            except UserError as error:
                return str(error)
            return loaded if record.case_id in held else None

        with ThreadPoolExecutor() as pool:
            outcomes = list(track(pool.map(one, records), len(records), "reading cases"))
        problems = [outcome for outcome in outcomes if isinstance(outcome, str)]
        if problems:
            raise Faults(f"{len(problems)} of {len(records)} cases cannot be used", problems)
        return [outcome for outcome in outcomes if outcome is not None and not isinstance(outcome, str)]

    def load(self, record: Record, labelled: bool = True) -> tuple[Item, Prepared]:
        """One case, prepared, with its facts (case_id and, where the task wants it, target). Raises UserError."""
        mask = labelled and self.target == "mask"
        image, label = self.preparation.read(record, with_label=mask)
        if label is not None and (found := integrity.errors(record, image, label, self.classes)):
            raise UserError("; ".join(found))
        facts: Item = {"case_id": record.case_id}
        if labelled and not mask:
            facts["target"] = encode(record, self.classes, self.target)
        return facts, self.preparation.prepare(image, label)

    def train_dataloader(self) -> DataLoader[Item]:
        cases = TrainCases(self._cases["train"], self.seed, self.patch_size, self.foreground, self.augmentation)
        rank, ranks = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        order = EpochOrder(len(cases), self.seed, rank, ranks)
        batch = min(self.batch_size, len(order))
        return self._loader(cases, batch_size=batch, sampler=order, drop_last=True)

    def val_dataloader(self) -> DataLoader[Item]:
        cases = self._cases["val"]
        rank, ranks = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        shard = cases[rank::ranks] or cases[:1]
        return self._loader(EvalCases(shard), batch_size=self.eval_batch_size, shuffle=False)

    @property
    def eval_batch_size(self) -> int:
        """Images of one size go together; others one at a time."""
        return self.batch_size if self.preparation.image_size is not None else 1

    def _loader(self, cases: Any, **options: Any) -> DataLoader[Item]:
        workers = self.num_workers
        options |= {"num_workers": workers, "persistent_workers": workers > 0, "collate_fn": collate}
        return DataLoader(cases, pin_memory=torch.cuda.is_available(), **options)

    def class_counts(self) -> np.ndarray[Any, Any]:
        """Voxels (segmentation) or images a class in the training split, shape (K,); binary: (negative, positive)."""
        counts = np.zeros(len(self.classes))
        for facts, prepared in self._cases["train"]:
            if prepared.label is not None:
                counts += np.bincount(prepared.label.numpy().ravel(), minlength=len(counts))[: len(counts)]
                continue
            target = facts["target"]
            if self.target == "multilabel":
                counts += target.numpy()
            else:
                counts[int(target.item())] += 1
        return counts

    def describe(self) -> str:
        """One line on the split, for the log."""
        assert self.split is not None
        parts = self.parts()
        sizes = ", ".join(f"{len(ids)} {part}" for part, ids in parts.items())
        patients = len({record.group for records in parts.values() for record in records})
        line = f"{self.root.name}: {sizes} cases of {patients} patients"
        if self.target in ("index", "binary"):
            tally = Counter(str(record.target) for record in parts["train"])
            line += "; training classes " + ", ".join(f"{name} {count}" for name, count in sorted(tally.items()))
        return line
