"""What a benchmark found, as tables and as JSON."""

from __future__ import annotations

import json
import os
import platform
import time
from pathlib import Path
from typing import Any


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    import monai
    import torch

    from medexp.run.folder import environment

    cpu = environment(0)["cpu"]
    versions = {"torch": torch.__version__, "monai": monai.__version__, "python": platform.python_version()}
    return {
        "date": time.strftime("%Y-%m-%d"),
        "cpu": cpu,
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0],
        **versions,
    }


def show_data(result: dict[str, Any]) -> None:
    """The parts of `medexp bench data`."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, width=110)
    where = result["machine"]
    title = f"{where['cpu']['name']}, {where['threads']} threads, {where['date']}"
    table = Table("what", "medexp", "beside it", "ratio", title=title, title_justify="left")
    part = result["preparation"]
    for text, ours, theirs in (
        ("prepare a case, files included", "medexp with reading", "MONAI with reading"),
        ("prepare a case, in memory", "medexp", "MONAI"),
    ):
        seconds = part["seconds_a_case"]
        ratio = seconds[theirs] / seconds[ours]
        table.add_row(text, f"{seconds[ours]:.3f} s", f"{seconds[theirs]:.3f} s ({theirs.split()[0]})", f"{ratio:.1f}x")
    part = result["patches"]
    for name, ratio in part["ratios"].items():
        rates = part["a_second"]
        table.add_row("patches a second", f"{rates['medexp']:.0f}", f"{rates[name]:.1f} ({name})", f"{ratio:.1f}x")
    part = result["read"]
    times = part["milliseconds"]
    for name, ratio in part["ratios"].items():
        beside = f"{times[name]:.2f} ms ({name})"
        table.add_row("read a 64^3 patch of 256^3", f"{times['store']:.2f} ms", beside, f"{ratio:.2f}x as long")
    few, many = result["memory"]["peak_mb"].items()
    seen = f"{many[1]:.0f} MB at {many[0]} volumes"
    table.add_row("peak memory", seen, f"{few[1]:.0f} MB at {few[0]}", f"{result['memory']['ratio']:.3f}x")
    console.print(table)


def save(result: dict[str, Any], path: Path) -> None:
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
