"""Cases through the network, one after the other, to whoever wants the outcome. Evaluation and prediction both stand on it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from medexp import build
from medexp.data.cases import collate
from medexp.data.module import DataModule
from medexp.data.preparation.prepare import Prepared
from medexp.data.progress import track
from medexp.data.records import Record
from medexp.errors import Faults, UserError
from medexp.inferers.parts import parts
from medexp.run.quiet import quiet
from medexp.tasks.base import Task

log = logging.getLogger(__name__)


Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Outcome:
    """Of an image with classes: `scores`, probabilities (K,). Of one with a class a voxel: `labels`, the class map on the
    source grid, and `predicted`, that on the prepared grid, where the case is labelled and may be drawn. `given`: what the
    network was given, where it is not the prepared image."""

    record: Record
    prepared: Prepared
    target: Tensor | None
    scores: Tensor | None = None
    labels: Array | None = None
    predicted: Array | None = None
    given: Tensor | None = None

    @property
    def probabilities(self) -> Tensor:
        """(K,), of an image with classes."""
        assert self.scores is not None
        return self.scores


class _Held:
    """Keeps a prepared case out of Lightning's hands, which walk through dataclasses to move tensors."""

    def __init__(self, prepared: Prepared) -> None:
        self.prepared = prepared


class _Lazy(Dataset[dict[str, Any]]):
    """Cases read when their turn comes: a thousand volumes never lie in memory together."""

    def __init__(self, data: DataModule, records: Sequence[Record], labelled: bool) -> None:
        self.data, self.records, self.labelled = data, records, labelled

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> dict[str, Any]:
        try:
            facts, prepared = self.data.load(self.records[index], labelled=self.labelled)
        except UserError as error:
            return {"fault": str(error)}
        item = {"image": prepared.image, "held": _Held(prepared), "index": index, **facts}
        return self.data.paired(item, self.labelled)


class _Through(pl.LightningModule):
    """Batches through a task: `deliver` is given a batch and what the task says of each of its cases, in the trainer's
    precision. That is probabilities (K,), or, where it is `dense`, an iterator of their parts: (first voxel along the
    first axis, (K, voxels from there on, *rest)), computed while it is gone through."""

    def __init__(self, task: Task, dense: bool, deliver: Callable[[dict[str, Any], int, Any], None]) -> None:
        super().__init__()
        self.task, self.dense, self.deliver = task, dense, deliver

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> int:
        if self.dense:
            found = parts(self.task.inferer, batch["image"], self.task.network(batch))  # type: ignore[arg-type]  # it is callable
            for place, case in groupby(found, key=itemgetter(0)):
                self.deliver(batch, place, ((first, self._probabilities(scores)) for _, first, scores in case))
        else:
            for place, scores in enumerate(self.task.predict_step(batch, batch_idx)):
                self.deliver(batch, place, scores.cpu())
        return len(batch["index"])  # of None Lightning warns

    def _probabilities(self, scores: Tensor) -> Tensor:
        return self.task.probabilities(scores[None])[0].float().cpu()


def infer(
    cfg: dict[str, Any],
    task: Task,
    data: DataModule,
    records: Sequence[Record],
    receive: Callable[[Outcome], None],
    labelled: bool,
    soft: bool = False,
) -> None:
    """Hands `receive` the outcome of every record in order; `soft`: of a class a voxel, `scores` on the source grid (K,
    *source shape) in place of `labels`. Cases that cannot be read are raised together, at the end."""
    dense = data.target == "mask"
    faults: list[str] = []

    def deliver(batch: dict[str, Any], place: int, scores: Any) -> None:
        index, prepared = batch["index"][place], batch["held"][place].prepared
        target = next((batch[key][place].cpu() for key in ("target", "reference") if key in batch), None)
        if not dense:
            return receive(Outcome(records[index], prepared, target, scores, given=batch["image"][place]))
        if soft:
            joined = torch.cat([part for _, part in scores], dim=1)
            chances = data.preparation.chances_on_source(joined, prepared)
            return receive(Outcome(records[index], prepared, target, chances))
        chosen = np.empty(prepared.image.shape[1:], np.uint8 if len(data.classes) <= 256 else np.uint16)
        found: Iterable[tuple[int, Tensor]] = _choosing(scores, chosen) if labelled else scores
        labels = data.preparation.labels_on_source(found, prepared)
        receive(Outcome(records[index], prepared, target, None, labels, chosen if labelled else None))

    def batches(items: list[dict[str, Any]]) -> dict[str, Any] | None:
        faults.extend(item["fault"] for item in items if "fault" in item)
        sound = [item for item in items if "fault" not in item]
        return collate(sound) if sound else None

    loader = _Counted(DataLoader(_Lazy(data, records, labelled), batch_size=data.eval_batch_size, collate_fn=batches))
    with quiet():
        build.single(cfg).predict(_Through(task, dense, deliver), loader, return_predictions=False)
    if faults:
        raise Faults(f"{len(faults)} of {len(records)} cases cannot be used", faults)


def _choosing(scores: Iterable[tuple[int, Tensor]], into: Array) -> Iterator[tuple[int, Tensor]]:
    """The parts as they are; the most probable class of every voxel is written on the way."""
    for first, part in scores:
        into[first : first + part.shape[1]] = part.max(
            dim=0
        ).indices.numpy()  # arg max over a strided axis takes 5 times as long
        yield first, part


class _Counted:
    """A loader with a progress bar, less the batches of which nothing could be read."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        self.loader = loader

    def __iter__(self) -> Any:
        return (batch for batch in track(self.loader, len(self.loader), "predicting") if batch is not None)
