"""What a benchmark found, as tables and as JSON."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Row = tuple[str, str, str, str]  # what, medexp, beside it, ratio


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    import monai
    import torch

    from medexp import __version__
    from medexp.run.folder import environment

    found = environment(0)
    versions = {"torch": torch.__version__, "monai": monai.__version__, "python": platform.python_version()}
    return {
        "date": time.strftime("%Y-%m-%d"),
        "cpu": found["cpu"],
        "gpu": found["gpu"],
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0],
        "medexp": __version__,
        "git": found["git"],
        **versions,
    }


def show(
    title: str, rows: Sequence[Sequence[str]], heads: Sequence[str] = ("what", "medexp", "beside it", "ratio")
) -> None:
    """A table on standard output, whole lines even where nobody looks."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    console = console if console.is_terminal else Console(highlight=False, width=130)
    table = Table(*heads, title=title, title_justify="left")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def headline(what: str, where: Mapping[str, Any]) -> str:
    """`step: 2 cores of NAME, 1 thread, load 0.3, 2026-11-23`."""
    threads = f"{where['threads']} thread{'s' if where['threads'] != 1 else ''}"
    devices = "".join(f"{name}, " for name in where["gpu"])
    return f"{what}: {devices}{where['cpu']['name']}, {threads}, load {where['load']:.1f}, {where['date']}"


def save(result: Mapping[str, Any], path: Path) -> None:
    """The numbers as JSON; a file named .jsonl keeps those of earlier runs, a line each."""
    if path.suffix == ".jsonl":
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(result) + "\n")
    else:
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
