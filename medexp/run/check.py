"""`medexp check`: everything that can be known before training; nothing is trained, nothing repaired."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medexp.errors import Faults, UserError
from medexp.run import folder

if TYPE_CHECKING:
    from rich.console import Console

    from medexp.data.checks.facts import CaseFacts
    from medexp.data.checks.survey import Findings
    from medexp.data.module import DataModule

SHOWN = 3  # warnings of a kind that are printed; the report has all
MOST_CLASSES = 40  # rows of the table on the terminal; the report has all


def check(overrides: list[str], exclude_bad: Path | None = None, report: Path | None = None) -> int:
    """Composes and checks the config, reads every case to its end, and holds the split against what was read.

    exclude_bad: file that the cases with errors are written to, one id a line with the reason, for `dataset.exclude`.
    report: JSON file; default in the cache, and said. Raises Faults with all errors that are not excluded.
    """
    from rich.console import Console

    from medexp.run.train import plan

    if exclude_bad is not None and "=" in str(exclude_bad):  # `--exclude-bad dataset=...`: the word was an override
        overrides, exclude_bad = [*overrides, str(exclude_bad)], Path("excluded.txt")
    console = Console(highlight=False, soft_wrap=True, markup=False)
    cfg = plan(overrides)
    data = _built(cfg)
    console.print("config: sound")
    found = _examined(data)
    _print(console, data, found)
    target = report or Path(cfg["cache_dir"]) / "checks" / f"{_name(data, cfg)}.json"
    _write(target, json.dumps(_report(data, found), indent=1, allow_nan=False) + "\n", "--report")
    console.print(f"report: {target}")
    errors = found.errors
    if exclude_bad is not None:
        console.print(_exclude(exclude_bad, data, found.bad, cfg["dataset"].get("exclude")))
        errors = found.remaining
    if errors:
        raise Faults(f"{len(errors)} faults in {len(found.facts)} cases of {data.root}", errors)
    if not found.errors:
        count = sum(map(len, found.warnings.values()))
        console.print(f"data: {data.describe()}; {count} warning{'s' * (count != 1)}")
    return 0


def _built(cfg: dict[str, Any]) -> DataModule:
    """The data module, and for a moment the rest: what no signature tells, constructors say. Raises UserError."""
    from medexp import build  # imports all that training needs: the config is judged before

    data = build.datamodule(cfg)
    build.scorer(cfg)
    build.task(cfg).configure_optimizers()
    return data


def _examined(data: DataModule) -> Findings:
    """What is wrong with the data: cases and split together, whichever of the two fails."""
    from medexp.data.checks.judge import NO_LABEL
    from medexp.data.checks.survey import findings, given_split, survey
    from medexp.data.splits.unlabelled import has_label

    records = data.records()
    bare = [r for r in records if data.unlabelled is not None and not has_label(r, data.target)]
    known = [record for record in records if record not in bare]
    facts = survey(known, data.preparation, data.classes, data.target, data.store)
    facts |= survey(bare, data.preparation, data.classes, NO_LABEL, data.store)
    problems: list[str] = []
    try:
        data.parts()
        split = data.split or {}
    except Faults as error:
        split, problems = given_split(records), error.problems
    except UserError as error:
        split, problems = given_split(records), [str(error)]
    problems += _sizes(data, facts)
    found = findings(records, facts, split, data.classes, data.target)
    new = [text for text in problems if text not in found.errors]
    found.errors, found.remaining = found.errors + new, list(dict.fromkeys(found.remaining + new))
    return found


def _sizes(data: DataModule, facts: dict[str, CaseFacts]) -> list[str]:
    """Whether whole images of several sizes would have to make a batch, as far as files tell."""
    from medexp.data.select import need_one_size

    preparation = data.preparation
    if data.patch_size is not None or preparation.image_size is not None or preparation.spacing is not None:
        return []
    try:
        need_one_size([tuple(sorted(known.shape)) for known in facts.values() if known.readable], data.batch_size)
    except UserError as error:
        return [str(error)]
    return []


def _name(data: DataModule, cfg: dict[str, Any]) -> str:
    import hashlib

    digest = hashlib.blake2b(str(data.root).encode(), digest_size=4).hexdigest()
    return f"{re.sub(r'[^A-Za-z0-9._-]', '_', data.root.name) or 'data'}_{digest}"


def _write(path: Path, text: str, key: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder.write(path, text)
    except OSError as error:
        raise UserError(f"{key}: cannot write to {path} ({error.strerror}); name another file") from None


def _exclude(path: Path, data: DataModule, bad: dict[str, str], before: str | None) -> str:
    """Adds cases to an exclusion list, beside those that it or `dataset.exclude` names; a slice or time point by its
    whole scan. Returns what was done, in a line. Raises UserError for a list of another data set."""
    from medexp.data.select import listed_by

    listed = listed_by(data.source, data.root, data.missing, unlabelled=data.lists_unlabelled)
    known = {record.case_id for record in listed}
    new: dict[str, str] = {}
    for case, reason in bad.items():
        scan = max((name for name in known if f"{case}_".startswith(f"{name}_")), key=len, default=case)
        reason = reason.replace(f"{data.root}/", "")
        new.setdefault(scan, reason if scan == case else f"{case}: {reason}")
    kept: dict[str, str] = {}
    for source in (path, *([Path(before)] if before else [])):
        for line in source.read_text(encoding="utf-8-sig").splitlines() if source.is_file() else []:
            case = re.split(r"(?:^|\s)#", line, maxsplit=1)[0].strip()
            if case and case not in new:
                kept.setdefault(case, line)
    foreign = [case for case in kept if case not in known]
    if foreign:
        seen = f"{path} names {len(foreign)} cases that are not in {data.root} (e.g. {foreign[0]})"
        raise UserError(f"--exclude-bad: {seen}; name another file")
    if not new:
        return "excluded: no case has an error; nothing was written"
    lines = [*kept.values(), *(f"{case}  # {reason}" for case, reason in new.items())]
    _write(path, "\n".join(lines) + "\n", "--exclude-bad")
    return f"excluded: {len(new)} cases, beside {len(kept)} before; go on with dataset.exclude={path}"


def _report(data: DataModule, found: Findings) -> dict[str, Any]:
    """All of it, machine readable; paths are relative to the data set, no patient is named."""
    root = f"{data.root}/"
    sizes = {part: len(cases) for part, cases in found.split.items()}
    return {
        "data": str(data.root),
        "cases": len(found.facts),
        "parts": sizes,
        "classes": found.classes,
        "geometry": _geometry(found.facts),
        "errors": [text.replace(root, "") for text in found.errors],
        "warnings": {kind: [text.replace(root, "") for text in texts] for kind, texts in found.warnings.items()},
        "bad": {case: reason.replace(root, "") for case, reason in found.bad.items()},
    }


def _geometry(facts: dict[str, CaseFacts]) -> dict[str, dict[str, list[float]]]:
    """Least, median and greatest spacing (mm) and size (voxels) along each axis of the files."""
    import numpy as np

    known = [entry for entry in facts.values() if entry.readable]
    if not known or len({len(entry.shape) for entry in known}) > 1:
        return {}
    table = {}
    for name, rows in (("spacing", [entry.spacing for entry in known]), ("shape", [entry.shape for entry in known])):
        values = np.asarray(rows, dtype=np.float64)
        table[name] = {
            "min": values.min(axis=0).tolist(),
            "median": np.median(values, axis=0).tolist(),
            "max": values.max(axis=0).tolist(),
        }
    return table


def _print(console: Console, data: DataModule, found: Findings) -> None:
    from rich.table import Table

    by_case = {record.case_id: record for record in data.records()}
    table = Table("cases with", *found.split, title=None)
    table.add_row("any", *(str(len(cases)) for cases in found.split.values()))
    groups = [{by_case[case].group for case in cases if case in by_case} for cases in found.split.values()]
    table.add_row("(patients)", *(str(len(group)) for group in groups), end_section=True)
    for name, parts in list(found.classes.items())[:MOST_CLASSES]:
        table.add_row(name, *(str(parts[part]) for part in found.split))
    if len(found.classes) > MOST_CLASSES:
        table.add_row(f"and {len(found.classes) - MOST_CLASSES} more classes", *([""] * len(found.split)))
    console.print(table)
    geometry = _geometry(found.facts)
    if geometry:
        table = Table("along each axis", "min", "median", "max")
        for name, unit in (("spacing", "mm"), ("shape", "voxels")):
            row = (" x ".join(f"{value:.4g}" for value in geometry[name][key]) for key in ("min", "median", "max"))
            table.add_row(f"{name} ({unit})", *row)
        console.print(table)
    for kind, texts in found.warnings.items():
        console.print(f"{len(texts)} warning{'s' * (len(texts) != 1)}: {kind}")
        for text in texts[:SHOWN]:
            console.print(f"  {text}")
        if len(texts) > SHOWN:
            console.print(f"  ... and {len(texts) - SHOWN} more (all in the report)")
