"""Checkpoints off the critical path: training waits for a copy of the tensors, a thread writes the copy."""

from __future__ import annotations

from collections import Counter, OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric.plugins.io.checkpoint_io import CheckpointIO

from medexp.callbacks import checkpoint_file
from medexp.callbacks.checkpoint_file import LAST, PREVIOUS

PLAIN = (str, bytes, bool, int, float, type(None))
WAITING = 1  # copies in memory beside the one that is being written: an epoch ends with the best and the last


def snapshot(value: Any, place: str = "checkpoint") -> Any:
    """A copy in memory of the CPU that later steps do not change, of nothing but tensors and plain containers.

    That is what `torch.load(weights_only=True)` takes back. Raises TypeError, with the place, for anything else.
    """
    kind = type(value)
    if isinstance(value, torch.Tensor):
        tensor = value.detach().as_subclass(torch.Tensor)
        return tensor.clone() if tensor.device.type == "cpu" else tensor.cpu()
    if kind in PLAIN:
        return value
    if isinstance(value, np.generic):
        return value.item()
    if kind in (dict, OrderedDict, Counter):
        copied: Any = kind({key: snapshot(child, f"{place}[{key!r}]") for key, child in value.items()})
        if kind is OrderedDict:
            copied.__dict__.update(snapshot(value.__dict__, place))  # a state_dict's versions of its modules
        return copied
    if kind in (list, tuple, set, torch.Size):
        return (tuple if kind is torch.Size else kind)(snapshot(child, f"{place}[...]") for child in value)
    raise TypeError(f"{place} is a {kind.__module__}.{kind.__qualname__}; state must be tensors and plain containers")


class CheckpointWriter(CheckpointIO):
    """Lightning's CheckpointIO on top of `checkpoint_file`: one thread, one write at a time, in order.

    A failed write raises CheckpointFault at the next call of any method; `check` asks for it without waiting.
    """

    def __init__(self) -> None:
        self._thread: ThreadPoolExecutor | None = None
        self._writes: list[Future[None]] = []

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Returns once the tensors are copied. The last checkpoint keeps the one before it. Raises CheckpointFault, TypeError."""
        target = Path(path)
        previous = target.with_name(PREVIOUS) if target.name == LAST else None
        while len(self._writes) > WAITING:
            self._writes.pop(0).result()
        content = snapshot(checkpoint)
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writes.append(self._thread.submit(checkpoint_file.write, content, target, previous))
        del content
        self.check()

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """The content, verified, on the CPU. Raises Damaged, FileNotFoundError."""
        self.join()
        return checkpoint_file.read(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        self.join()
        Path(path).unlink(missing_ok=True)

    def check(self) -> None:
        """Raises CheckpointFault where a write has failed."""
        while self._writes and self._writes[0].done():
            self._writes.pop(0).result()

    def join(self) -> None:
        """Waits until all is written. Raises CheckpointFault."""
        while self._writes:
            self._writes.pop(0).result()

    def teardown(self) -> None:
        try:
            self.join()
        finally:
            if self._thread is not None:
                self._thread.shutdown()
                self._thread = None
