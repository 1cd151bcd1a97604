"""What `medexp bench` takes on the command line. Nothing heavy is imported here: `medexp --help` asks for it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

OPTIONS: dict[str, dict[str, Any]] = {
    "--model": {"metavar": "NAME,...", "help": "3D networks of conf/model (default dynunet,basic_unet,unet)"},
    "--patch": {"type": int, "metavar": "N", "help": "voxels along each axis of what the networks see (default 64)"},
    "--cases": {"type": int, "metavar": "N", "help": "volumes (default 6)"},
    "--size": {"type": int, "nargs": 3, "metavar": "N", "help": "voxels of each volume (default 200 200 80)"},
    "--patches": {"type": int, "metavar": "N", "help": "patches a round (default 60)"},
    "--workers": {"type": int, "metavar": "N", "help": "worker processes of each loader (default 0)"},
    "--experiment": {"metavar": "NAME", "help": "what is trained (default segmentation/phantom)"},
    "--steps": {"type": int, "metavar": "N", "help": "training steps (default 20)"},
}
TABLE = {
    "step": (
        "a training step: what medexp adds to it, by precision, with its data, beside nnU-Net's",
        ("--model", "--patch", "--cases", "--workers"),
    ),
    "data": (
        "preparation, patches a second, reading, peak memory, beside MONAI's pipelines",
        ("--cases", "--size", "--patches", "--workers"),
    ),
    "infer": ("sliding windows, beside MONAI's", ()),
    "metrics": ("surface distances and overlaps, beside MONAI's", ()),
    "start": ("--help, completion, and from command to first step, beside importing the libraries", ("--experiment",)),
    "ddp": ("two processes on the CPU: speed beside the ideal, losses beside one process", ("--steps",)),
    "all": ("every part with its defaults, in fewer rounds", ()),
}


def add_parts(timed: argparse.ArgumentParser) -> None:
    """The parts, each with its own options; what is not given is left to the part's own default."""
    parts = timed.add_subparsers(dest="part", metavar="PART", required=True)
    for name, (text, options) in TABLE.items():
        part = parts.add_parser(name, help=text, description=text, argument_default=argparse.SUPPRESS)
        for flag in options:
            part.add_argument(flag, **OPTIONS[flag])
        rounds = 3 if name == "all" else 5
        said = f"interleaved rounds whose median counts (default {rounds})"
        part.add_argument("--rounds", type=int, metavar="N", default=rounds, help=said)
        keep = "write the numbers there as well; into a .jsonl as one more line"
        part.add_argument("--json", type=Path, metavar="FILE", default=None, help=keep)
