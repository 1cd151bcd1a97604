"""SIGTERM and Ctrl-C: noted while a step runs, obeyed between two, by all ranks at the same one."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
import torch

log = logging.getLogger(__name__)
ASKED_EVERY = 1.0  # seconds between two agreements of several ranks: each costs a little communication


class Interrupted(BaseException):
    """The run was asked to stop. signum: by which signal. first: in the process that speaks for all ranks."""

    def __init__(self, signum: int, first: bool = True) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum, self.first = signum, first


@contextmanager
def listening() -> Iterator[None]:
    """Within: SIGTERM raises Interrupted, as Ctrl-C raises KeyboardInterrupt. Only the main thread hears signals."""

    def stop(signum: int, frame: Any) -> None:
        raise Interrupted(signum)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class Signals:
    """Notes SIGTERM and SIGINT in `received` instead of breaking into the step; a second Ctrl-C does break into it."""

    def __init__(self) -> None:
        self.received = 0
        self._before: dict[int, Any] = {}

    def install(self) -> None:
        if threading.current_thread() is threading.main_thread() and not self._before:
            for signum in (signal.SIGTERM, signal.SIGINT):
                self._before[signum] = signal.signal(signum, self._note)

    def restore(self) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)
        self._before.clear()

    def _note(self, signum: int, frame: Any) -> None:
        if signum == signal.SIGINT and self.received == signal.SIGINT:
            raise KeyboardInterrupt
        if not self.received:
            log.info("%s: finishing the step; Ctrl-C once more stops at once", signal.Signals(signum).name)
        self.received = signum


class Agreement:
    """What one rank wants, all ranks do, after the same step.

    Ranks are in step with each other, so they ask each other after equally many steps: about once a second by the pace
    of the slowest. One rank alone just answers itself.
    """

    def __init__(self) -> None:
        self._left, self._steps, self._since = 1, 0, 0.0

    def reached(self, trainer: pl.Trainer, stop: int, due: bool, now: float, ask: bool = False) -> tuple[int, bool]:
        """(signal to stop by or 0, whether to save) of all ranks; nothing of both between two agreements.

        now: seconds of a clock. ask: agree at this very place.
        """
        if trainer.world_size == 1:
            return stop, due
        self._left -= 1
        self._steps += 1
        if self._left > 0 and not ask:
            return 0, False
        pace = (now - self._since) / self._steps if self._since else ASKED_EVERY
        wanted = torch.tensor([float(stop), float(due), pace], device=trainer.strategy.root_device)
        found = trainer.strategy.reduce(wanted, reduce_op="max")
        assert isinstance(found, torch.Tensor)
        first, second, slowest = found.tolist()
        self._left = max(1, int(ASKED_EVERY / max(slowest, 1e-3)))
        self._steps, self._since = 0, now
        return int(first), bool(second)
