"""`medexp bench`: medexp beside the plain use of the libraries it stands on, on the user's own machine, in one run."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from medexp.errors import UserError

# Modules of this package: `run(rounds=..., **options)` finds numbers, `rows(result)` are the table's lines; `details(result)`,
# where there is one, is a second table.
PARTS = ("step", "data", "infer", "metrics", "start", "ddp")
LEAST = {"cases": 2, "rounds": 1, "patches": 1, "workers": 0, "patch": 16, "steps": 5}  # options, and what they may be


def bench(what: str, options: Mapping[str, Any], output: Path | None) -> int:
    """Runs one part, or all, and prints a table of each as it comes; writes JSON where `output` is given. Returns 0.

    options: of the part's `run`, as far as they are not the default. Raises UserError.
    """
    from medexp.run.bench import tables

    check(options)
    if output is not None and not output.absolute().parent.is_dir():
        raise UserError(f"--json: {output.parent} is no folder; give a file in one")
    result: dict[str, Any] = {"what": what, "machine": tables.machine()}
    for name in PARTS if what == "all" else (what,):
        part = import_module(f"medexp.run.bench.{name}")
        with calm():
            result[name] = part.run(**options)
        tables.show(tables.headline(name, result["machine"]), part.rows(result[name]))
        if hasattr(part, "details"):
            tables.show(*part.details(result[name]))
    if output is not None:
        tables.save(result, output)
    return 0


def check(options: Mapping[str, Any]) -> None:
    """Raises UserError where a number cannot be."""
    for key, least in LEAST.items():
        if options.get(key, least) < least:
            raise UserError(f"--{key}: {options[key]} is less than {least}")
    if min(options.get("size", [80])) < 80:
        seen = tuple(options["size"])
        raise UserError(
            f"--size: {seen} is less than 80 voxels along an axis; patches of 64^3 are cut after resampling"
        )
    if options.get("patch", 16) % 16:
        raise UserError(f"--patch: {options['patch']} is no multiple of 16, by which the networks divide it")


@contextmanager
def calm() -> Iterator[None]:
    """Within: neither Lightning's hints, nor what MONAI says of readers that are not installed, nor medexp's own lines."""
    from medexp.run.quiet import quiet

    levels = {name: logging.getLogger(name).level for name in ("medexp", "monai", "pydicom")}
    try:
        for name in levels:
            logging.getLogger(name).setLevel(logging.ERROR)
        with quiet():
            warnings.filterwarnings("ignore", message=".*NvImgCodec.*")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
