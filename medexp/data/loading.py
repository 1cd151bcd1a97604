"""Batches of training that go on where they were left, from workers that leave it to the main process when to stop."""

from __future__ import annotations

import ctypes
import signal
import sys
from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from medexp.data.cases import Item, collate
from medexp.data.order import NOTHING_DONE, Draw, EpochOrder, Position

PR_SET_PDEATHSIG = 1  # prctl(2)


class Resumable(pl.LightningDataModule):
    """A data module that goes on in the middle of an epoch: what was consumed of it is all the state that it has."""

    def __init__(self) -> None:
        super().__init__()
        self._start = NOTHING_DONE
        self._order: EpochOrder | None = None
        self._batch = 1

    def ranks(self) -> tuple[int, int]:
        """This process, and how many there are."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def order(self, count: int, seed: int, weights: Sequence[float] | None, batch_size: int) -> tuple[EpochOrder, int]:
        """The order of `count` cases for this rank, less what was consumed, and the size of its batches. Raises UserError."""
        rank, ranks = self.ranks()
        self._batch = min(batch_size, -(-count // ranks))
        self._start.fits(self._batch, ranks)
        self._order = EpochOrder(count, seed, rank, ranks, weights, self._start)
        if self.trainer:  # resumed: workers start to read before Lightning says which epoch it is
            epochs: Any = self.trainer.fit_loop.epoch_progress
            self._order.set_epoch(epochs.current.processed)
        return self._order, self._batch

    def position(self) -> Position:
        """What has been consumed of the epoch that the trainer is in."""
        assert self.trainer is not None
        return Position.of(self.trainer, self._batch)

    def state_dict(self) -> dict[str, Any]:
        return self.position().state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._start = Position(**state_dict)

    def next_draws(self) -> list[Draw]:
        """The draws of the batch that this rank reads next."""
        at = self.position()
        return self._order.draws()[at.batches * self._batch :][: self._batch] if self._order else []


def end_with_parent(signum: int) -> None:
    """This process gets a signal once the one that made it is gone, however that came (Linux; elsewhere nothing happens)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signum)


def leave_stopping_to_main(worker: int) -> None:
    """A signal to the whole group (Ctrl-C, a scheduler) must not take away the batches of the step that is finished.

    Where the main process is killed its workers are too, and so nobody holds the lock on the run's folder any more.
    """
    end_with_parent(signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def loader(cases: Any, workers: int, timeout: float, **options: Any) -> DataLoader[Item]:
    """torch's DataLoader of `cases`; a batch that is not there after `timeout` seconds raises RuntimeError."""
    if workers:
        options |= {"persistent_workers": True, "timeout": timeout, "worker_init_fn": leave_stopping_to_main}
    return DataLoader(cases, num_workers=workers, collate_fn=collate, pin_memory=torch.cuda.is_available(), **options)
