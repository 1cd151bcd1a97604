"""`medexp bench`: medexp beside the plain use of the libraries it stands on, on the user's own machine, in one run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medexp.errors import UserError


def bench(
    what: str, cases: int, size: tuple[int, int, int], rounds: int, patches: int, workers: int, output: Path | None
) -> int:
    """Runs a benchmark, prints its table, and writes JSON where `output` is given. Returns 0."""
    from medexp.run.bench import data, tables
    from medexp.run.quiet import quiet

    for key, value, least in (("--cases", cases, 2), ("--rounds", rounds, 1), ("--patches", patches, 1)):
        if value < least:
            raise UserError(f"{key}: {value} is less than {least}")
    if min(size) < 80:
        raise UserError(
            f"--size: {size} is less than 80 voxels along an axis; patches of 64^3 are cut after resampling"
        )
    if output is not None and not output.absolute().parent.is_dir():
        raise UserError(f"--json: {output.parent} is no folder; give a file in one")
    with quiet():
        result: dict[str, Any] = {"what": what, "machine": tables.machine()}
        result |= data.run(cases, size, rounds, patches, workers)
    tables.show_data(result)
    if output is not None:
        tables.save(result, output)
    return 0
