"""What ends a training, as one line that says the cause and the next move."""

from __future__ import annotations

import errno
import re
import signal
from pathlib import Path
from typing import Any

from medexp.errors import UserError

WORKER = re.compile(r"DataLoader worker \(pid.*?\) (?:exited unexpectedly|is killed by signal)")
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
    cases = ", ".join(data.cases_waited_for()[:8]) or "of the validation"
    workers = f"dataset.num_workers={data.num_workers}"
    if not WORKER.search(said):
        return (
            f"no batch came from the workers: {said.partition(': ')[2]} (the next cases: {cases}); does the disk answer? see "
            f"where it hangs with dataset.num_workers=0, or give them more time (dataset.timeout={4 * data.timeout:g})"
        )
    codes = [code for code in data.ended_workers if code]
    how = "an error" if not codes else signal.Signals(-codes[0]).name if codes[0] < 0 else f"exit code {codes[0]}"
    if how == "SIGKILL":
        cause = f"most likely the memory was full: use fewer workers than {workers}, or a smaller dataset.batch_size"
    elif how == "SIGBUS":
        cause = f"shared memory (/dev/shm) was full: enlarge it, or use fewer workers than {workers}"
    else:
        cause = "see the error with dataset.num_workers=0"
    return f"a data worker ended with {how} ({cause}); the next cases were {cases}"
