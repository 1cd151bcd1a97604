"""Batches of training that go on where they were left, from workers that leave it to the main process when to stop."""

from __future__ import annotations

import ctypes
import signal
import sys
import threading
from collections.abc import Sequence
from typing import Any, ClassVar
from weakref import WeakSet

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from medexp.data.cases import Item, collate
from medexp.data.order import NOTHING_DONE, Draw, EpochOrder, Mixed, Position
from medexp.data.waiting import Waiting

PR_SET_PDEATHSIG = 1  # prctl(2)


class Resumable(pl.LightningDataModule):
    """A data module that goes on in the middle of an epoch: what was consumed of it is all the state that it has."""

    def __init__(self) -> None:
        super().__init__()
        self._start = NOTHING_DONE
        self._order: EpochOrder | None = None
        self._batch = 1
        self.ended_workers: list[int] = []  # where an exception ended the training: exit codes of those that had ended,
        self.waited_for: list[Draw] = []  # and the training batch that was due; none in a validation

    def ranks(self) -> tuple[int, int]:
        """This process, and how many there are."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def order(
        self,
        count: int,
        seed: int,
        weights: Sequence[float] | None,
        batch_size: int,
        draws: int = 1,
        mixed: Mixed | None = None,
    ) -> tuple[EpochOrder, int]:
        """The order of `count` cases for this rank, less what was consumed, and the size of its batches. draws: of each case.
        mixed: what else is drawn among them. Raises UserError."""
        rank, ranks = self.ranks()
        order = EpochOrder(count, seed, rank, ranks, weights, self._start, draws, mixed)
        return self.follow(order, min(batch_size, len(order)))

    def follow(self, order: EpochOrder, batch: int) -> tuple[EpochOrder, int]:
        """Goes by an order of this rank, in batches of that size. Raises UserError."""
        self._order, self._batch = order, batch
        self._start.fits(batch, order.ranks)
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

    def on_exception(self, exception: BaseException) -> None:
        if self._order is not None and self.trainer is not None and not self.trainer.validating:
            self.waited_for = self._order.draws()[self.position().batches * self._batch :][: self._batch]
        self.ended_workers = end_workers()  # before Lightning waits for them


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


def end_workers() -> list[int]:
    """Kills the workers of all loaders, of which one that hangs would keep this process from ending.

    Returns the exit codes of those that had ended by themselves: -9 was killed by signal 9.
    """
    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL) if main else None  # torch's handler would raise once more
    workers = [worker for served in tuple(Loader.alive) for worker in served.workers()]
    ended = [worker.exitcode for worker in workers if worker.exitcode is not None]
    for worker in workers:
        worker.kill()
        worker.join(5)
    if main:
        signal.signal(signal.SIGCHLD, before)
    return ended


class Loader(DataLoader[Item]):
    """torch's DataLoader. patience: seconds that a worker may do nothing while its batch is waited for; 0: any."""

    alive: ClassVar[WeakSet[Loader]] = WeakSet()

    def __init__(self, *args: Any, patience: float = 0.0, **options: Any) -> None:
        super().__init__(*args, **options)
        self.patience = patience

    def workers(self) -> list[Any]:
        """The processes that are at work now."""
        return list(getattr(self._iterator, "_workers", []))

    def __iter__(self) -> Any:
        Loader.alive.add(self)
        batches = super().__iter__()
        return Waiting(batches, self.patience) if self.patience else batches


def loader(cases: Any, workers: int, timeout: float, **options: Any) -> DataLoader[Item]:
    """Batches of `cases`. RuntimeError where one does not come, and its worker has done nothing for `timeout` seconds (0: no
    limit)."""
    if workers:
        options |= {"persistent_workers": True, "patience": timeout, "worker_init_fn": leave_stopping_to_main}
    return Loader(cases, num_workers=workers, collate_fn=collate, pin_memory=torch.cuda.is_available(), **options)
