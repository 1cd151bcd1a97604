"""Waiting for a batch: as long as the worker that makes it is at work, and not much longer once it is not."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from medexp.data.cases import Item

log = logging.getLogger(__name__)
LOOK_EVERY = 1.0  # seconds, where nothing comes
LONGEST = 20.0  # times the time-out: a worker that computes for ever is ended too
HANDED_OVER = 1.0  # seconds until a worker that was lost is seen to have ended
IDLE = 2  # clock ticks of CPU time between two looks that waiting alone may take


class Waiting(Iterator[Item]):
    """Batches from workers; RuntimeError where one does not come and its worker has done nothing for `timeout` seconds.

    A worker that is slow is none that hangs: the first patches of large volumes on a cold disk are thousands of small
    reads, and may take minutes. So it is looked at what the worker that owes the batch has read and computed since (Linux;
    elsewhere the time alone counts). torch's own time-out knows the time alone, and does not cover a worker that is
    frozen as a whole: the main process then waits for the memory of a batch that is ready. Only the main thread has an
    alarm; in others nobody looks.
    """

    def __init__(self, batches: Any, timeout: float) -> None:
        self.batches, self.timeout, self._warned = batches, timeout, False
        self._begun = self._since = 0.0  # of the waiting; of the standstill
        self._seen: tuple[int, int] | None = None

    def __next__(self) -> Item:
        if threading.current_thread() is not threading.main_thread():
            return self._next()
        self._begun = self._since = time.monotonic()
        self._seen = None
        every = min(LOOK_EVERY, self.timeout / 5)
        before = signal.signal(signal.SIGALRM, self._look)
        signal.setitimer(signal.ITIMER_REAL, every, every)
        try:
            return self._next()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    def _next(self) -> Item:
        """Raises RuntimeError, as torch does elsewhere, where a worker ends while it hands over the memory of a batch."""
        try:
            item: Item = next(self.batches)
        except (ConnectionError, EOFError):
            for worker in getattr(self.batches, "_workers", []):
                worker.join(HANDED_OVER)
                if worker.exitcode is not None:
                    raise RuntimeError(f"DataLoader worker (pid {worker.pid}) exited unexpectedly") from None
            raise
        return item

    def _look(self, signum: int, frame: Any) -> None:
        now, work = time.monotonic(), self._work()
        if work is not None and self._seen is not None:
            ticks, read = work[0] - self._seen[0], work[1] - self._seen[1]
            if ticks >= IDLE or read > 0:
                self._since = now
        self._seen = work
        if now - self._since >= self.timeout:
            raise RuntimeError(f"DataLoader timed out: a worker did nothing for {self.timeout:g} s")
        if now - self._begun >= self.timeout * LONGEST:
            raise RuntimeError(f"DataLoader timed out: a worker was at one batch for {self.timeout * LONGEST:g} s")
        if now - self._begun >= self.timeout and not self._warned:
            self._warned = True
            log.warning(
                "no batch for %g s: the data workers are at work, but slow (disk, or augmentation)", self.timeout
            )

    def _work(self) -> tuple[int, int] | None:
        """CPU time (ticks) and reads (bytes, and pages of mapped files) so far; None where the system does not say."""
        workers = getattr(self.batches, "_workers", [])
        owes = getattr(self.batches, "_task_info", {}).get(getattr(self.batches, "_rcvd_idx", None))
        if owes:
            workers = [workers[owes[0]]]
        ticks = read = 0
        try:
            for worker in workers:
                folder = Path(f"/proc/{worker.pid}")
                stat = (folder / "stat").read_text().rpartition(")")[2].split()
                io = dict(line.split(": ") for line in (folder / "io").read_text().splitlines())
                ticks += int(stat[11]) + int(stat[12])  # proc(5), less the two fields before: utime, stime
                read += int(stat[9]) + int(io["rchar"]) + int(io["read_bytes"])  # majflt
        except (OSError, KeyError, ValueError, IndexError):
            return None
        return ticks, read
