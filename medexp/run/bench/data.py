"""`medexp bench data`: patches a second and preparation, against MONAI's dictionary pipelines on the same files."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medexp.run.bench import pipelines
from medexp.run.bench.patches import patches_a_second, preparation_of_bench
from medexp.run.bench.rounds import interleaved
from medexp.run.bench.tables import Row
from medexp.run.bench.volumes import write_volumes

SIZE, SOURCE_SPACING = (200, 200, 80), (0.8, 0.8, 2.0)  # voxels and mm of the files
MEMORY = (8, 64)  # volumes


def run(
    cases: int = 6, size: Sequence[int] = SIZE, rounds: int = 5, patches: int = 60, workers: int = 0
) -> dict[str, Any]:
    """All parts; see `medexp bench data --help` for what is compared."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        records = write_volumes(folder / "scans", cases, (size[0], size[1], size[2]), SOURCE_SPACING)
        result: dict[str, Any] = {
            "cases": cases,
            "size": list(size),
            "patch": list(pipelines.PATCH),
            "workers": workers,
        }
        result["preparation"] = preparation(records[: min(cases, 3)], rounds)
        result["patches"] = patches_a_second(records, folder / "store", rounds, patches, workers)
        result["read"] = patch_read(folder, rounds)
        result["memory"] = memory(folder / "memory")
    return result


def preparation(records: list[Any], rounds: int) -> dict[str, Any]:
    """Seconds a case to read, orient, resample and normalise image and label."""
    chain = pipelines.chain()
    pairs = [{"image": str(r.images[0]), "label": str(r.label)} for r in records]
    ours = preparation_of_bench()

    def prepare() -> None:
        for record in records:
            ours.prepare(*ours.read(record, with_label=True))

    scans = [ours.read(record, with_label=True) for record in records]
    from monai.transforms import Compose

    loaded: list[Any] = [Compose(chain.transforms[:2])(pair) for pair in pairs]
    rest = Compose(chain.transforms[2:])
    timings = interleaved(
        {
            "MONAI with reading": lambda: [chain(pair) for pair in pairs],
            "medexp with reading": prepare,
            "MONAI": lambda: [rest(dict(pair)) for pair in loaded],
            "medexp": lambda: [ours.prepare(*scan) for scan in scans],
        },
        rounds,
    )
    each = {name: timing.median / len(records) for name, timing in timings.items()}
    ratios = {
        "with reading": each["MONAI with reading"] / each["medexp with reading"],
        "in memory": each["MONAI"] / each["medexp"],
    }
    return {"seconds_a_case": each, "ratios": ratios}


def patch_read(folder: Path, rounds: int) -> dict[str, Any]:
    """A 64^3 patch of a 256^3 volume: from the store in float16, opened for each read, and from tensors in memory, in
    float16 too and in float32 as caches hold it."""
    from medexp.data.store.entries import open_entry, write_entry

    array = np.random.default_rng(0).normal(size=(1, 256, 256, 256)).astype(np.float16)
    path = folder / "read.case"
    write_entry(path, {"image": array}, {})
    entry, half = open_entry(path), torch.from_numpy(array)
    single = half.float()
    corners = np.random.default_rng(1).integers(0, 192, (200, 3)).tolist()
    cuts = [(slice(None), *(slice(start, start + 64) for start in corner)) for corner in corners]
    timings = interleaved(
        {
            "memory, float16": lambda: [half[cut].clone() for cut in cuts],
            "memory, float32": lambda: [single[cut].clone() for cut in cuts],
            "store": lambda: [torch.from_numpy(entry.read("image", cut)) for cut in cuts],
        },
        2 * rounds,
    )
    milliseconds = {name: timing.median / len(cuts) * 1000 for name, timing in timings.items()}
    ratios = {name: milliseconds["store"] / value for name, value in milliseconds.items() if name != "store"}
    return {"milliseconds": milliseconds, "ratios": ratios}


def memory(folder: Path) -> dict[str, Any]:
    """Peak memory (MB) of a process that draws patches of few and of many volumes of 128^3."""
    peaks = {}
    for count in MEMORY:
        words = [sys.executable, "-m", "medexp.run.bench.peak", str(folder), str(count)]
        peaks[count] = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)["peak_mb"]
    return {
        "peak_mb": {str(count): peak for count, peak in peaks.items()},
        "ratio": peaks[MEMORY[1]] / peaks[MEMORY[0]],
    }


def rows(result: Mapping[str, Any]) -> list[Row]:
    """The table's lines."""
    found: list[Row] = []
    part = result["preparation"]
    for text, ours, theirs in (
        ("prepare a case, files included", "medexp with reading", "MONAI with reading"),
        ("prepare a case, in memory", "medexp", "MONAI"),
    ):
        seconds = part["seconds_a_case"]
        ratio = seconds[theirs] / seconds[ours]
        found.append(
            (text, f"{seconds[ours]:.3f} s", f"{seconds[theirs]:.3f} s ({theirs.split()[0]})", f"{ratio:.1f}x")
        )
    part = result["patches"]
    for name, ratio in part["ratios"].items():
        rates = part["a_second"]
        found.append(("patches a second", f"{rates['medexp']:.0f}", f"{rates[name]:.1f} ({name})", f"{ratio:.1f}x"))
    part = result["read"]
    times = part["milliseconds"]
    for name, ratio in part["ratios"].items():
        beside = f"{times[name]:.2f} ms ({name})"
        found.append(("read a 64^3 patch of 256^3", f"{times['store']:.2f} ms", beside, f"{ratio:.2f}x as long"))
    few, many = result["memory"]["peak_mb"].items()
    seen = f"{many[1]:.0f} MB at {many[0]} volumes"
    found.append(("peak memory", seen, f"{few[1]:.0f} MB at {few[0]}", f"{result['memory']['ratio']:.3f}x"))
    return found
