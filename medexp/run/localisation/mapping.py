"""Maps of the classes of cases, on the grid of their files, from a run's classifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medexp.data.cases import collate
from medexp.data.module import DataModule
from medexp.data.preparation.prepare import Prepared
from medexp.data.records import Record
from medexp.errors import UserError
from medexp.inferers.class_maps import ClassMaps
from medexp.inferers.map_layers import Layer, layers
from medexp.tasks.base import Batch, Task

Array = np.ndarray[Any, Any]
CLASSIFY = ("index", "binary", "multilabel")


@dataclass(frozen=True)
class Seen:
    """A case through the network: its probabilities, one a class of `dataset.classes`, and the batch that it was."""

    record: Record
    prepared: Prepared
    probabilities: list[float]
    batch: Batch


class Mapper:
    """Draws maps of the network of a run's task. Raises UserError where that has none of classes of still, whole images."""

    def __init__(self, run: Path, data: DataModule, task: Task, device: str) -> None:
        if data.target not in CLASSIFY or data.sequence is not None or data.plane is not None:
            what = "frames" if data.sequence is not None else "slices" if data.plane is not None else data.target
            raise UserError(
                f"{run}: its model gives no classes of whole images ({what}); localise takes a classification"
            )
        self.data, self.task, self.device = data, task.to(device).eval(), device

    def see(self, record: Record) -> Seen:
        """A case read, prepared and classified. Raises UserError."""
        facts, prepared = self.data.load(record, labelled=False)
        batch = collate([{**facts, "image": prepared.image}])
        batch = {key: value.to(self.device) if isinstance(value, Tensor) else value for key, value in batch.items()}
        with torch.no_grad():
            found = self.task.probabilities(self.task.network(batch)(batch["image"]))[0].tolist()
        return Seen(record, prepared, [1 - found[0], *found] if self.data.target == "binary" else found, batch)

    def layers(self, seen: Seen, names: Sequence[str]) -> list[Layer]:
        """Of the network, tried on this case; see `medexp.inferers.map_layers.layers`."""
        return layers(self.task.network(seen.batch), self.task.net, seen.batch["image"], names)

    def map(self, seen: Seen, maps: ClassMaps, kind: int) -> Array:
        """The map of a class (its place in `dataset.classes`), float32 on the source grid; 0 where the case was cropped."""
        output = kind - 1 if self.data.target == "binary" else kind
        found = maps(self.task.network(seen.batch), self.task.net, seen.batch["image"], output).cpu()
        both = torch.stack([1 - found, found])
        return np.asarray(self.data.preparation.chances_on_source(both, seen.prepared)[1].numpy(), np.float32).clip(
            0, 1
        )

    def by_slice(self, method: str) -> bool:
        """Whether maps are weights of whole slices, by the network of a bag of these."""
        return (
            method == "attention"
            and hasattr(self.task.net, "bag")
            and getattr(self.task.net, "patch_size", None) is None
        )

    def weights(self, seen: Seen) -> Array:
        """Of a network of bags: how much each instance of a case counts, (N,)."""
        net: Any = self.task.net
        with torch.no_grad():
            return np.asarray(net.attention(seen.batch["image"])[0].float().cpu().numpy())

    def mask(self, seen: Seen, kind: int) -> Tensor | None:
        """Where a class is on the prepared grid, boolean (1, *spatial); None of cases without a label map."""
        if seen.record.label is None:
            return None
        preparation = self.data.preparation
        label = preparation.prepare(*preparation.read(seen.record, with_label=True)).label
        assert label is not None
        return label == kind

    def instances(self, seen: Seen, kind: int) -> tuple[Array, Array] | None:
        """Of a network of bags: how much each instance of a case counts, and which of them hold voxels of the class, both (N,).
        None of other networks, and of cases without a label map."""
        if not hasattr(self.task.net, "bag") or (mask := self.mask(seen, kind)) is None:
            return None
        net: Any = self.task.net
        held = net.bag(mask[None].float())[0].flatten(1).amax(dim=1)
        return self.weights(seen), held.numpy() > 0

    def classes(self) -> range:
        """Classes that have a map: of a yes or no that of the yes."""
        return range(1 if self.data.target == "binary" else 0, len(self.data.classes))
