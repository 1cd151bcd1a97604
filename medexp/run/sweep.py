"""`medexp train -m`: every combination, each in its own folder and fresh process; one failure does not end the others."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import pandas as pd
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.errors import HydraException

from medexp.config import compose
from medexp.errors import UserError
from medexp.run import folder, process, train
from medexp.run.report import print_sweep, shown

log = logging.getLogger(__name__)


def sweep(overrides: list[str]) -> int:
    """Runs all combinations of comma-separated values (Hydra's grammar: choice, range, glob). Returns 1 where one failed."""
    jobs = _jobs(overrides)
    if len(jobs) == 1:
        log.info("one combination only; give several values: model=unet,dynunet")
    varied = [key for key in (text.split("=")[0] for text in jobs[0]) if len({_value(job, key) for job in jobs}) > 1]
    root = _root(overrides, jobs[0])
    folder.log_to(None)
    rows = [
        _row(number, job, [text for text in job if text.split("=")[0] in varied], root)
        for number, job in enumerate(jobs)
    ]
    if (root / "sweep.csv").exists():
        raise UserError(f"run_dir: {root} already holds a sweep; take another folder")
    planned = [_planned(row, root) for row in rows]
    if not any(planned):
        raise UserError(rows[0]["reason"])
    _write_table(root, rows)
    for row, ready in zip(rows, planned, strict=True):
        if ready:
            log.info("job %d of %d: %s", row["job"] + 1, len(rows), " ".join(row["overrides"]))
            try:
                _run(row)
            finally:  # also where somebody interrupts
                _write_table(root, rows)
    print_sweep(rows, next((row["monitor"] for row in rows if row["monitor"]), "value"))
    log.info("sweep folder: %s", shown(root))
    for row in rows:
        if row["state"] != "done":
            log.info("job %d: %s", row["job"], row["reason"])
    return 0 if all(row["state"] == "done" for row in rows) else 1


def _jobs(overrides: list[str]) -> list[list[str]]:
    """The overrides of each job. Raises UserError for what cannot be swept."""
    parsed = compose.parse(overrides)
    for override in parsed:
        key = str(override.key_or_group)
        if key == "resume":
            raise UserError("resume: goes on with one run; leave -m out")
        if key == "run_dir" and override.is_sweep_override():
            raise UserError("run_dir: is the folder of the whole sweep; give one, each job has its own below it")
    try:
        batches = BasicSweeper.split_arguments(parsed, max_batch_size=None)
    except HydraException as error:
        what = " ".join(str(error).split())
        raise UserError(f"-m: {what}; a grid takes a,b,c or range(...) or glob(...)") from None
    if not batches or not batches[0]:
        raise UserError(f"-m: {' '.join(overrides)} gives no combination at all; give at least one value a key")
    return list(batches[0])


def _value(job: list[str], key: str) -> str:
    return next((text for text in job if text.split("=")[0] == key), "")


def _root(overrides: list[str], job: list[str]) -> Path:
    """outputs/<name>/<time>_sweep, or run_dir where it is given."""
    given = next((text.split("=", 1)[1] for text in overrides if text.startswith("run_dir=")), None)
    if given:
        return Path(given).expanduser().absolute()
    named = {key: value for key, _, value in (text.partition("=") for text in job)}
    base = folder.fresh(named.get("name") or named.get("experiment") or "default", None)
    return base.with_name(f"{base.name}_sweep")


def _row(number: int, job: list[str], varied: list[str], root: Path) -> dict[str, Any]:
    readable = "_".join(re.sub(r"[^\w.=+-]+", "-", text) for text in varied)[:120] or "job"
    path = root / f"{number:03d}_{readable}"
    rest = [text for text in job if not text.startswith("run_dir=")]
    return {
        "job": number,
        "overrides": varied,
        "all": rest,
        "value": None,
        "state": "waiting",
        "reason": "",
        "folder": shown(path),
        "monitor": "",
    }


def _planned(row: dict[str, Any], root: Path) -> bool:
    """Composes and checks a job before any runs, and writes its folder; a job that cannot be is marked so."""
    path = Path(row["folder"]).absolute()
    try:
        cfg = train.plan(row["all"], run_dir=path)
        for node in cfg["logger"].values():
            if isinstance(node, dict) and "group" in node and node["group"] is None:
                node["group"] = f"{root.parent.name}/{root.name}"
                node["name"] = path.name
        folder.create(path, cfg, row["all"])
        row["monitor"] = cfg["monitor"]
    except UserError as error:
        row.update(state="refused", reason=str(error))
        return False
    return True


def _run(row: dict[str, Any]) -> None:
    path = Path(row["folder"]).absolute()
    row["state"] = "running"
    try:
        code, stderr = process.complete(path, keep_stderr=True)
    except KeyboardInterrupt:
        row.update(state="interrupted", reason=f"go on with: medexp train resume={row['folder']}")
        raise
    except UserError as error:  # somebody has resumed it meanwhile
        row.update(state="failed", reason=str(error))
        return
    if code == 0 and (path / "result.json").is_file():
        result = folder.read_json(path / "result.json")
        row.update(state="done", value=result["value"])
        return
    folder.write(path / "error.txt", stderr)
    last = (stderr.strip().splitlines() or ["no message"])[-1]
    row.update(state="failed", reason=f"{last} (all of it: {row['folder']}/error.txt)")


def _write_table(root: Path, rows: list[dict[str, Any]]) -> None:
    table = pd.DataFrame([{**row, "overrides": " ".join(row["overrides"])} for row in rows]).drop(columns=["all"])
    folder.write(root / "sweep.csv", table.to_csv(index=False))
