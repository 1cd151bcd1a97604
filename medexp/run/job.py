"""`python -m medexp.run.job RUN`: a run in a process of its own, from its folder. Sweeps start their jobs so, and Lightning its ranks."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from medexp.cli import guarded
from medexp.data.loading import end_with_parent
from medexp.run.train import execute


def main() -> int:
    # A run does not go on when what started it was killed: nobody would know, and its folder would be free for another.
    # The first process writes its last step; further ranks, which would wait for it in vain, end at once.
    end_with_parent(signal.SIGKILL if os.environ.get("LOCAL_RANK", "0") != "0" else signal.SIGTERM)
    return guarded(lambda: execute(Path(sys.argv[1])))


if __name__ == "__main__":
    raise SystemExit(main())
