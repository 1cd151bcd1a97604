"""`python -m medexp.run.job RUN`: a run in a process of its own, from its folder. Sweeps start their jobs so, and Lightning its ranks."""

from __future__ import annotations

import sys
from pathlib import Path

from medexp.cli import guarded
from medexp.run.train import execute


def main() -> int:
    return guarded(lambda: execute(Path(sys.argv[1])))


if __name__ == "__main__":
    raise SystemExit(main())
