"""Runs in processes of their own, always from their folder: never by parsing somebody's arguments again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from medexp.run import folder

PATIENCE = 60.0  # seconds that a run that was asked to stop has to finish its step and to write
OTHERS = ("LOCAL_RANK", "RANK", "WORLD_SIZE")  # of a group of processes that this one is in; the run makes its own


class Stopped(KeyboardInterrupt):
    """What a signal to this process has become after it was passed on to the run. signum: which."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


def command(run: Path) -> list[str]:
    """The one way to start a run in a process of its own."""
    return [sys.executable, "-m", "medexp.run.job", str(run)]


def complete(run: Path, keep_stderr: bool = False) -> tuple[int, str]:
    """Exit code and, where it is kept, the error stream.

    The run is a process group of its own: a signal to this process is passed on to it once, it is waited for, and
    Stopped is raised; what is left of it after PATIENCE, or after a third signal, is killed. It holds the lock on its
    folder, also where this process is killed before it. Raises UserError where another process does.
    """
    heard: list[int] = []
    environment = {name: value for name, value in os.environ.items() if name not in OTHERS}
    pipe = subprocess.PIPE if keep_stderr else None
    options: dict[str, Any] = {"stderr": pipe, "text": True, "env": environment, "start_new_session": True}
    with folder.lock(run) as held, subprocess.Popen(command(run), pass_fds=[held], **options) as job:
        before = _listen(job, heard)
        try:
            stderr = _outcome(job, heard)
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)
            _kill_group(job)
    if heard:
        raise Stopped(heard[0])
    return job.returncode, stderr


def _listen(job: subprocess.Popen[str], heard: list[int]) -> dict[int, Any]:
    def pass_on(signum: int, frame: Any) -> None:
        heard.append(signum)
        job.send_signal(signum)

    if threading.current_thread() is not threading.main_thread():
        return {}
    return {signum: signal.signal(signum, pass_on) for signum in (signal.SIGINT, signal.SIGTERM)}


def _outcome(job: subprocess.Popen[str], heard: list[int]) -> str:
    asked = None
    while True:
        try:
            return job.communicate(timeout=1.0)[1] or ""
        except subprocess.TimeoutExpired:
            now = time.monotonic()
            asked = asked or (now if heard else None)
            if asked and (now - asked > PATIENCE or len(heard) > 2):
                _kill_group(job)


def _kill_group(job: subprocess.Popen[str]) -> None:
    """Ranks and workers that outlive the run's first process."""
    with suppress(ProcessLookupError, PermissionError):  # nobody is left
        os.killpg(job.pid, signal.SIGKILL)
