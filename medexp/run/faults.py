"""What ends a training, as one line that says the cause and the next move."""

from __future__ import annotations

import errno
import multiprocessing
import re
import signal
import threading
from pathlib import Path
from typing import Any

from medexp.errors import UserError

WORKER = re.compile(r"DataLoader worker \(pid.*?\) (?:exited unexpectedly|is killed by signal: (\w+(?: \w+)*))")
LOST = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "recvBytes", "sendBytes", "heartbeat")
STORAGE = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EPERM, errno.EIO)


class RunFault(Exception):
    """A fault of the run that its user should read in one line: exit code 1."""


def explained(error: BaseException, run: Path, data: Any) -> Exception | None:
    """The fault or mistake behind an error of Lightning, torch or the system; None where it is a bug of medexp's."""
    from pytorch_lightning.utilities.exceptions import MisconfigurationException

    from medexp.callbacks.checkpoint_file import CheckpointFault

    said = " ".join(str(error).split())
    if isinstance(error, (FloatingPointError, CheckpointFault)):
        return RunFault(f"{run}: {said}")
    if isinstance(error, MisconfigurationException):
        return UserError(f"trainer: {said}")
    if isinstance(error, OSError) and error.errno in STORAGE:
        return RunFault(f"{run}: {said}; make room or mend the permissions, then: medexp train resume={run}")
    if isinstance(error, RuntimeError):
        if "DataLoader timed out" in said or WORKER.search(said):
            return RunFault(f"{run}: {_worker(said, data)}")
        if any(words in said for words in LOST):
            return RunFault(f"{run}: another process of this run has ended, which says why above; nothing to wait for")
    return None


def _worker(said: str, data: Any) -> str:
    cases = ", ".join(data.next_cases()[:8]) or "unknown"
    workers = f"dataset.num_workers={data.num_workers}"
    found = WORKER.search(said)
    if found is None:
        return (
            f"no batch came from the workers within {data.timeout:g} s (the next cases: {cases}); is the disk slow, or a "
            f"case's file stuck? give them more time (dataset.timeout=120), or see the error with dataset.num_workers=0"
        )
    how = found.group(1) or "a signal"
    if how == "Killed":
        cause = f"most likely the memory was full: use fewer workers than {workers}, or a smaller dataset.batch_size"
    elif how.startswith("Bus"):
        cause = f"shared memory (/dev/shm) was full: enlarge it, or use fewer workers than {workers}"
    else:
        cause = "see the error with dataset.num_workers=0"
    return f"a data worker was ended by {how} ({cause}); the next cases were {cases}"


def end_workers() -> None:
    """Kills the data workers that a fault has left: one that hangs would keep this process from ending."""
    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL) if main else None  # torch's handler would raise once more
    for worker in multiprocessing.active_children():
        worker.kill()
        worker.join(5)
    if main:
        signal.signal(signal.SIGCHLD, before)
