"""Runs in processes of their own, always from their folder: never by parsing somebody's arguments again."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

PATIENCE = 60.0  # seconds that an interrupted run has to write what it is writing


def command(run: Path) -> list[str]:
    """The one way to start a run in a process of its own."""
    return [sys.executable, "-m", "medexp.run.job", str(run)]


def complete(run: Path, keep_stderr: bool = False) -> tuple[int, str]:
    """Exit code and, where it is kept, the error stream. Ctrl-C reaches the run, which is waited for, then is raised again."""
    with subprocess.Popen(command(run), stderr=subprocess.PIPE if keep_stderr else None, text=True) as job:
        try:
            _, stderr = job.communicate()
        except KeyboardInterrupt:
            _end(job)
            raise
    return job.returncode, stderr or ""


def _end(job: subprocess.Popen[str]) -> None:
    """A terminal interrupts the run itself; `kill -INT` of the parent alone does not, so it is passed on."""
    for wait in (2.0, PATIENCE):
        try:
            job.communicate(timeout=wait)
            return
        except subprocess.TimeoutExpired:
            job.send_signal(signal.SIGINT)
    job.kill()
