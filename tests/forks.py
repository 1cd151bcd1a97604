"""`medexp ...` and the processes that it starts as forks of one that has imported everything: a start costs no import.

Only what a new interpreter would do is left out. Processes, process groups, signals, locks and the ranks that Lightning
starts are as ever; tests/run/test_ddp.py and test_resume.py run real commands beside these.
"""

from __future__ import annotations

import inspect
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

PRELOADED = ["medexp.cli", "medexp.run.train", "medexp.run.evaluate", "medexp.run.resume", "medexp.run.sweep", "monai"]
LIMIT = 120.0  # seconds that any command may take


class Forked(subprocess.Popen[Any]):
    """`python -m medexp.run.job RUN` without the start of an interpreter; other commands are as ever."""

    def _execute_child(self, args: Any, *rest: Any) -> None:
        original: Any = super()._execute_child  # type: ignore[misc]
        if "medexp.run.job" not in args:
            original(args, *rest)
            return
        given = inspect.signature(original).bind(args, *rest).arguments
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            if given["start_new_session"]:
                os.setsid()
            if given["errwrite"] != -1:
                os.dup2(given["errwrite"], 2)
            _become(["medexp/run/job.py", args[-1]], given["env"] or os.environ)
        self._child_created = True
        if given["errwrite"] != -1:
            os.close(given["errwrite"])


def _become(words: list[str], environment: Mapping[str, str]) -> None:
    """This fork is the process that would have been started: its arguments, environment, signals and exit code."""
    code = 1
    try:
        for signum in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, signal.default_int_handler if signum == signal.SIGINT else signal.SIG_DFL)
        given = dict(environment)
        os.environ.clear()
        os.environ.update(given)
        sys.argv = words
        code = _main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _main() -> int:
    from medexp.cli import main
    from medexp.run import job

    if not sys.argv[0].endswith("job.py"):
        return main(sys.argv[1:])
    sys.modules["__main__"] = job  # what `python -m medexp.run.job` is to Lightning, which starts ranks by its name
    return job.main()


def _command(words: list[str], environment: dict[str, str], out: str, err: str) -> None:
    multiprocessing.set_start_method("fork", force=True)  # of workers; the server's own has been set here
    subprocess.Popen = Forked  # type: ignore[misc]
    for path, stream in ((out, 1), (err, 2)):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, stream)
        os.close(handle)
    _become(["medexp", *words], environment)


class Command:
    """`medexp WORDS`, started; what it prints is in `done`. `process.pid` is the command's own."""

    def __init__(self, *words: str) -> None:
        processes = multiprocessing.get_context("forkserver")
        processes.set_forkserver_preload(PRELOADED)
        self.words, self.folder = list(words), Path(tempfile.mkdtemp())
        self.said = [str(self.folder / stream) for stream in ("out", "err")]
        arguments = (self.words, {**os.environ, "OMP_NUM_THREADS": "1"}, *self.said)
        self.process: Any = processes.Process(target=_command, args=arguments)
        self.process.start()

    def running(self) -> bool:
        return bool(self.process.is_alive())

    def processes(self) -> list[int]:
        """Ids of the command and of all that it has started, parents before their children."""
        parents = {}
        for entry in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):  # it has ended since
                parents[int(entry.parent.name)] = int(entry.read_text().rpartition(")")[2].split()[1])
        found = [self.process.pid]
        for parent in found:
            found += [pid for pid, started_by in parents.items() if started_by == parent]
        return found

    def done(self) -> CompletedProcess[str]:
        """Waits for its end. Raises TimeoutError after LIMIT seconds."""
        self.process.join(LIMIT)
        if self.process.exitcode is None:
            self.process.kill()
            raise TimeoutError(f"medexp {' '.join(self.words)} does not end")
        texts = [Path(path).read_text() if Path(path).is_file() else "" for path in self.said]
        shutil.rmtree(self.folder)
        return CompletedProcess(self.words, self.process.exitcode, *texts)


def warm(*words: str) -> CompletedProcess[str]:
    """What `medexp WORDS` has returned and said."""
    return Command(*words).done()
