"""Cases through the network, one after the other, to whoever wants the outcome. Evaluation and prediction both stand on it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytorch_lightning as pl
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from medexp import build
from medexp.data.cases import collate
from medexp.data.module import DataModule
from medexp.data.preparation.prepare import Prepared
from medexp.data.progress import track
from medexp.data.records import Record
from medexp.errors import Faults, UserError
from medexp.run.quiet import quiet
from medexp.tasks.base import Task

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """probabilities: (K,) or (K, *spatial) on the prepared grid. labels: class map on the source grid, or None."""

    record: Record
    prepared: Prepared
    target: Tensor | None
    probabilities: Tensor
    labels: np.ndarray[Any, Any] | None


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
        return {"image": prepared.image, "held": _Held(prepared), "index": index, **facts}


class _Sink(pl.Callback):
    def __init__(self, deliver: Callable[[dict[str, Any], Tensor], None]) -> None:
        self.deliver = deliver

    def on_predict_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self.deliver(batch, outputs.cpu())


def infer(
    cfg: dict[str, Any],
    task: Task,
    data: DataModule,
    records: Sequence[Record],
    receive: Callable[[Outcome], None],
    labelled: bool,
) -> None:
    """Hands `receive` the outcome of every record in order. Cases that cannot be read are raised together, at the end."""
    dense = data.target == "mask"
    faults: list[str] = []

    def deliver(batch: dict[str, Any], probabilities: Tensor) -> None:
        for place, index in enumerate(batch["index"]):
            prepared, scores = batch["held"][place].prepared, probabilities[place]
            labels = data.preparation.labels_on_source(scores, prepared) if dense else None
            target = batch["target"][place] if "target" in batch else None
            receive(Outcome(records[index], prepared, target, scores, labels))

    def batches(items: list[dict[str, Any]]) -> dict[str, Any] | None:
        faults.extend(item["fault"] for item in items if "fault" in item)
        sound = [item for item in items if "fault" not in item]
        return collate(sound) if sound else None

    loader = _Counted(DataLoader(_Lazy(data, records, labelled), batch_size=data.eval_batch_size, collate_fn=batches))
    with quiet():
        trainer = build.single(cfg, callbacks=[_Sink(deliver)])
        trainer.predict(task, loader, return_predictions=False)
    if faults:
        raise Faults(f"{len(faults)} of {len(records)} cases cannot be used", faults)


class _Counted:
    """A loader with a progress bar, less the batches of which nothing could be read."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        self.loader = loader

    def __iter__(self) -> Any:
        return (batch for batch in track(self.loader, len(self.loader), "predicting") if batch is not None)
