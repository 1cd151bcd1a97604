"""Samples of a generative run, chunk by chunk: what `medexp generate` writes and an evaluation looks at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from medexp import build
from medexp.data.progress import track
from medexp.run.quiet import quiet
from medexp.seeding import derive
from medexp.tasks.base import Task

CHUNK = 16  # samples that go through the network together


class _Drawing(pl.LightningModule):
    """Chunks through a task, in the trainer's precision and on its device."""

    def __init__(self, task: Task, seed: int, classes: Sequence[int] | None, deliver: Callable[[int, Tensor], None]):
        super().__init__()
        self.task: Any = task
        self.seed, self.classes, self.deliver = seed, classes, deliver

    def predict_step(self, chunk: tuple[int, int], batch_idx: int) -> int:
        first, count = chunk
        classes = None if self.classes is None else torch.tensor(self.classes[first : first + count])
        made: Tensor = self.task.generate(count, derive(self.seed, "chunk", first // CHUNK), classes)
        self.deliver(first, made)
        return count


def draw(
    cfg: dict[str, Any],
    task: Task,
    count: int,
    seed: int,
    classes: Sequence[int] | None,
    deliver: Callable[[int, Tensor], None],
    wanted: Callable[[range], bool] = lambda chunk: True,
) -> None:
    """Hands `deliver` the samples 0 to count - 1, chunk by chunk: the index of the first and images (n, C, *spatial), prepared.

    Sample i depends on (seed, i) alone (to the last bits, where the last chunk is a shorter one). classes: of each, where
    the task has classes. wanted: whether a chunk is to be made; what lies in others is left out.
    """
    chunks = [range(first, min(first + CHUNK, count)) for first in range(0, count, CHUNK)]
    todo = [(chunk.start, len(chunk)) for chunk in chunks if wanted(chunk)]
    if not todo:
        return
    loader = _Tracked(DataLoader(todo, batch_size=None))  # type: ignore[arg-type]
    with quiet():
        build.single(cfg).predict(_Drawing(task, seed, classes, deliver), loader, return_predictions=False)


class _Tracked:
    """A loader with a progress bar."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        self.loader = loader

    def __iter__(self) -> Any:
        return iter(track(self.loader, len(self.loader), "generating"))
