"""The one data path: a source's records, split by patient, checked, prepared once, served as batches."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from medexp import covariates as known
from medexp.data import expand
from medexp.data.annotated import Annotate, annotated
from medexp.data.balance import Balance
from medexp.data.boxes import placed
from medexp.data.cases import Item
from medexp.data.checks.facts import facts_of
from medexp.data.checks.judge import NO_LABEL, judge
from medexp.data.checks.options import check_counts, check_kind, check_neighbours, check_options
from medexp.data.frames import Frames
from medexp.data.modalities import present, without
from medexp.data.noise import check_noise, noisy
from medexp.data.preparation.prepare import Preparation, Prepared
from medexp.data.records import Plane, Record
from medexp.data.select import few, listed_by, need_one_size, selected, small_parts
from medexp.data.serving import Serving
from medexp.data.slabs import Slabs
from medexp.data.splits.draw import draw
from medexp.data.splits.make import Split, check_split
from medexp.data.splits.unlabelled import UNLABELLED, bare, check_labelled
from medexp.data.store.entries import InMemory, Kept
from medexp.data.store.keep import Keeper
from medexp.data.store.pack import unpack
from medexp.data.synthetic import made_up, served
from medexp.data.targets import encode
from medexp.data.unlabelled import Unlabelled
from medexp.data.unpaired import scored
from medexp.data.values import valued
from medexp.errors import Faults, counted
from medexp.targets import KINDS

log = logging.getLogger(__name__)
LOADED = ("train", "val", UNLABELLED)  # parts of the split that training goes through


class DataModule(Serving):
    """A data set: where it is, how it is read, what is done to it.

    root: folder of the data set. source: `records(root)`, one of medexp/data/sources.
    provides: what its cases have to learn from: "mask" (a label map), "class" (a class, or several), or a list of these.
    classes: names, index 0 (the background) first. target: how the task wants it (see medexp/data/targets.py).
    targets: {name: unit} of measures, see medexp/data/values.py.
    orientation, spacing (mm), image_size (voxels), resize, normalize, windows ([level, width] in HU), crop_foreground,
    label_values (in the files, for each class), ignore (what is not annotated): see medexp/data/preparation/prepare.py.
    annotation: makes of the label maps of training cases ones that say less (see medexp/transforms/annotation.py).
    plane: cases are slices of the volumes, with so many `neighbours` on either side as channels. times: "each" time point of
    a 4D scan is a case. sequence: cases are studies of several frames (see medexp/data/frames.py). missing: cases that lack
    a modality are an "error", get "zero" in its place, or "drop" out. covariates: see medexp/covariates.py. exclude: file of
    case ids to leave out. slabs: a volume is train, val and test (see medexp/data/slabs.py).
    patch_size: voxels that training sees at a time; None trains on whole images. foreground: share of patches placed
    on a foreground class. balance: how often cases of each class are drawn (see medexp/data/balance.py).
    batch_size: patches (or images) a step and rank. draws: of each training case an epoch. limit: cases a part. timeout:
    seconds that a worker may stand still. degradation: pairs for networks that restore images (transforms/degradation.py).
    labelled: number or share of the training cases that keep labels. unlabelled, label_noise, synthetic: see their files.
    augment_on_device: batches are augmented after their transfer, where the network is, rather than by the workers.
    split: `split(records, seed=...)` -> {"train": [...], ...}. store: folder of prepared cases; None: in memory. about: licence ...
    """

    def __init__(
        self,
        root: str,
        source: Callable[[Path], list[Record]],
        spatial_dims: Literal[2, 3],
        in_channels: int,
        classes: Sequence[str],
        provides: str | Sequence[str],
        target: str,
        split: Callable[..., Split],
        targets: Mapping[str, Any] | None = None,
        orientation: str | None = None,
        spacing: Sequence[float] | None = None,
        image_size: Sequence[int] | None = None,
        resize: bool = True,
        normalize: Callable[[Tensor], Tensor] | None = None,
        windows: Sequence[Sequence[float]] | None = None,
        crop_foreground: bool = False,
        label_values: Sequence[int | Sequence[int]] | None = None,
        ignore: int | Sequence[int] | None = None,
        annotation: Annotate | None = None,
        plane: Plane | None = None,
        neighbours: int = 0,
        times: Literal["each"] | None = None,
        sequence: Frames | None = None,
        slabs: Slabs | None = None,
        missing: Literal["error", "zero", "drop"] = "error",
        covariates: Sequence[str] | Mapping[str, Any] = (),
        exclude: str | None = None,
        patch_size: Sequence[int] | None = None,
        foreground: float = 0.33,
        balance: Balance = None,
        batch_size: int = 4,
        draws: int = 1,
        num_workers: int = 0,
        timeout: float = 25.0,
        limit: int | None = None,
        augmentation: Callable[[Item, int], Item] | None = None,
        augment_on_device: bool = False,
        degradation: Callable[[Item, int], Item] | None = None,
        labelled: float | None = None,
        unlabelled: Unlabelled | None = None,
        label_noise: float = 0.0,
        synthetic: Mapping[str, Any] | None = None,
        store: str | None = None,
        about: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.root, self.source, self.splitter = Path(root), source, split
        self.classes, self.target, self.seed = list(classes), target, seed
        check_kind(target)
        self.preparation = Preparation(
            *(spatial_dims, in_channels, orientation, spacing, image_size, normalize),
            windows=windows,
            crop_foreground=crop_foreground,
            label_values=label_values,
            hidden=None if sequence is None else sequence.horizon,
            neighbours=neighbours,
            resize=resize,
            ignore=ignore,
        )
        check_options(spatial_dims, classes, label_values, plane, patch_size, foreground)
        check_neighbours(neighbours, plane, in_channels, windows)
        check_counts(draws=(1, draws), batch_size=(1, batch_size), num_workers=(0, num_workers))
        check_counts(limit=(1, limit), timeout=(0, timeout))
        check_labelled(labelled, unlabelled is not None)
        if sequence is not None:
            sequence.alone(target, plane=plane, times=times, windows=windows, augment_on_device=augment_on_device)
        self.sequence, self.slabs, self.targets = sequence, slabs, dict(targets or {})
        self.plane, self.times, self.missing, self.exclude = plane, times, missing, exclude
        self.covariates, self.neighbours = known.entries(covariates), neighbours
        self.patch_size, self.foreground, self.augmentation = patch_size, foreground, augmentation
        self.batch_size, self.num_workers, self.limit = batch_size, num_workers, limit
        self.draws, self.balance, self.annotation = draws, balance, annotation
        self.timeout, self.augment_on_device, self.degradation = timeout, augment_on_device, degradation
        self.labelled, self.unlabelled, self.label_noise = labelled, unlabelled, check_noise(label_noise, target)
        self.lists_unlabelled = unlabelled is not None or not KINDS[target].provides  # all images are cases
        self.synthetic = made_up(synthetic, target, self.classes)
        self.store, self.about = None if store is None else Path(store), about or {}
        self.split: Split | None = None  # set beforehand to keep a split that was written earlier (resume, evaluate)
        self.without: tuple[int, ...] = ()  # channels that cases are loaded without, to see what a model makes of it
        self._records: list[Record] | None = None
        self._left_out: set[str] = set()
        self._cases: dict[str, list[tuple[Item, Kept]]] = {}
        self._kept: dict[str, Kept] = {}

    def records(self) -> list[Record]:
        """All cases of the data set, less those that are left out by name. Raises UserError where there are none."""
        if self._records is None:
            listed = listed_by(self.source, self.root, self.missing, [*self.covariates], self.lists_unlabelled)
            found = selected(listed, self.root, self.exclude, self.missing)
            self._left_out = {record.case_id for record in listed} - {record.case_id for record in found}
            found = found if self.times is None else expand.time_points(found, self.preparation.file_channels)
            found = found if self.slabs is None else self.slabs.cases(found)
            if self.sequence is not None:
                found = self.sequence.cases(expand.frames(found, self.preparation.spatial_dims))
            found = valued(found, self.targets, self.classes, self.preparation, self.store)
            self._records = found if self.plane is None else expand.slices(found, self.plane, self.neighbours)
        return self._records

    def parts(self) -> dict[str, list[Record]]:
        """Records of train, val and test; the split is made once and kept in `self.split`."""
        records = {record.case_id: record for record in self.records()}
        if self.split is None:
            told = self.seed, self.target, self.classes, self.preparation, self.store, self._left_out
            split = draw(self.splitter, [*records.values()], *told, self.unlabelled is not None, self.labelled)
            sliced = self.plane is not None
            self.split = {part: few(ids, self.limit, sliced, part == "test") for part, ids in split.items()}
        missing = [case for ids in self.split.values() for case in ids if case not in records]
        if missing:
            raise Faults(f"{len(missing)} cases of the split are not in {self.root}", missing)
        check_split(self.split, records.values())  # a split kept from earlier, or made by somebody else's function
        parts = {part: [records[case] for case in ids] for part, ids in self.split.items()}
        parts["train"] = noisy(parts["train"], self.label_noise, self.seed, self.classes)
        parts = {part: [*map(bare, each)] if part == UNLABELLED else each for part, each in parts.items()}
        return scored(parts, self.degradation)

    def setup(self, stage: str | None = None) -> None:
        """Reads and checks every case of the split, once; prepared cases are kept."""
        if self._cases:
            return
        parts = self.parts()
        self.covariates = known.learned(self.covariates, [record.covariates for record in parts["train"]])
        held = {record.case_id for part in LOADED for record in parts.get(part, ())}
        labelled = [record for part, each in parts.items() if part != UNLABELLED for record in each]
        kept = dict(zip([r.case_id for r in labelled], self.keeper().keep(labelled, held), strict=True))
        if others := parts.get(UNLABELLED):
            kept |= zip([r.case_id for r in others], self.keeper(labelled=False).keep(others, held), strict=True)
        for word in known.lacking(self.covariates, [record.covariates for each in parts.values() for record in each]):
            log.info("dataset.covariates: %s", word)
        if said := [*small_parts(parts), *judge(parts, kept, self.classes, self.target, self.root)]:
            log.info("%s on the data, e.g. %s (`medexp check` lists them)", counted(len(said), "warning"), said[0])
        self._kept = {name: case for name, case in kept.items() if "image" in case}
        if self.patch_size is None:
            need_one_size([case.shape("image")[1:] for case in self._kept.values()], self.batch_size)
        self._cases = {part: [self._case(record, part) for record in parts.get(part, ())] for part in LOADED}
        self._cases = annotated(self._cases, parts, self.annotation, len(self.classes), self.seed)
        self._cases |= served(self.synthetic, self.keeper(), self.facts, kept, parts)

    def _case(self, record: Record, part: str) -> tuple[Item, Kept]:
        kept = self._kept[record.case_id]
        if part == UNLABELLED:
            return {**self.facts(record, labelled=False), UNLABELLED: True}, kept
        return placed(self.facts(record), kept, self.target), kept

    def keeper(self, labelled: bool = True) -> Keeper:
        """What reads, checks and prepares the cases, or images alone."""
        target = self.target if labelled else NO_LABEL
        mask = KINDS[target].label_map
        return Keeper(
            self.preparation,
            lambda record, image, label: facts_of(record, image, label, self.classes, target),
            with_label=mask,
            asked=str(len(self.classes)) if mask else "",
            folder=self.store,
            name=self.root.name,
        )

    def facts(self, record: Record, labelled: bool = True) -> Item:
        """What goes with a case into a batch beside its arrays: case_id; target, where the task wants one; which
        channels the case has (`present`), where some may lack one. Raises UserError."""
        facts: Item = {"case_id": record.case_id}
        if labelled and KINDS[self.target].encoded:
            facts["target"] = encode(record, self.classes, self.target)
        if self.sequence is not None:
            facts |= self.sequence.facts(record, self.preparation.in_channels, labelled)
        if self.covariates:
            facts["covariates"] = torch.tensor(known.encoded(self.covariates, record.covariates))
        if self.missing == "zero":
            facts["present"] = present(record, self.preparation.in_channels)
        return facts

    def load(self, record: Record, labelled: bool = True) -> tuple[Item, Prepared]:
        """One case, whole and prepared, with its facts. Raises UserError."""
        kept = self._kept.get(record.case_id)
        if kept is None:
            packed = self.keeper().pack(record) if labelled else self.keeper().pack_image(record)
            kept = InMemory(*packed)  # with the precision of the store, so that outcomes are the same
        return without(placed(self.facts(record, labelled), kept, self.target), unpack(kept), self.without)
