"""Runs side by side: what was chosen differently in each, and which of them differ in nothing but the seed."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medexp.errors import UserError, nearest
from medexp.run import folder
from medexp.run.report import shown

log = logging.getLogger(__name__)
RESULT = "result.json"
OWN = ("run_dir", "name", "resume", "seed", "logger")  # keys that are no choice of a method
Choices = dict[str, str]


@dataclass(frozen=True)
class Finished:
    """A run that has been tested. choices: its overrides by key; seed: what it drew from; scores: of the test split."""

    path: Path
    choices: Choices
    config: Mapping[str, Any]
    seed: int
    monitor: str
    scores: Mapping[str, float]


@dataclass(frozen=True)
class Point:
    """Runs that differ in the seed alone. line: what they have in common, but for `at`, their value of the key compared by."""

    line: str
    at: str
    runs: Sequence[Finished]

    def values(self, metric: str) -> dict[int, float]:
        """The score of each seed."""
        return {run.seed: run.scores[metric] for run in self.runs}


@dataclass(frozen=True)
class Comparison:
    """Points along `by` (None: along nothing), with its values in order and the lines as they came."""

    by: str | None
    places: Sequence[str]
    lines: Sequence[str]
    points: Sequence[Point]

    def beside(self, point: Point) -> Point | None:
        """What a point is paired with: the first line at the same place; of one line, or along nothing, the first point."""
        among = self.points if len(self.lines) == 1 else [one for one in self.points if one.at == point.at]
        return None if among[0] is point else among[0]


def finished(paths: Sequence[Path]) -> list[Finished]:
    """The tested runs among these folders and in them, each once. Raises UserError where there are fewer than two."""
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            raise UserError(f"RUN: {path} is no folder; give run folders, or folders that hold some")
        inside = [path] if (path / folder.CONFIG).is_file() else sorted(path.iterdir())
        found += [one for one in inside if (one / folder.CONFIG).is_file() and one not in found]
    ready = [path for path in found if (path / RESULT).is_file()]
    for path in found:
        if path not in ready:
            log.warning("%s has no %s and is left out; finish it with: medexp train resume=%s", *_named(path))
    if len(ready) < 2:
        seen = f"{len(ready)} finished of {len(found)} found in {', '.join(map(str, paths))}"
        raise UserError(f"RUN: {seen}; two runs are needed to compare")
    return [_read(path) for path in ready]


def _named(path: Path) -> tuple[str, str, str]:
    return shown(path), RESULT, shown(path)


def _read(path: Path) -> Finished:
    result, config = folder.read_json(path / RESULT), folder.load(path)
    if not isinstance(result, dict) or not isinstance(result.get("metrics"), dict):
        raise UserError(f"{path / RESULT}: is damaged (no metrics); leave this run out")
    given = [text.lstrip("+") for text in folder.overrides_of(path)]
    pairs = [text.partition("=")[::2] for text in given if "=" in text]
    seed = int(config["seed"])
    choices = {key: _unseeded(value, seed) for key, value in pairs if key.split(".")[0].split("@")[0] not in OWN}
    scores = {name: float(value) for name, value in result["metrics"].items() if isinstance(value, int | float)}
    return Finished(path, choices, config, seed, str(result["monitor"]), scores)


def _unseeded(value: str, seed: int) -> str:
    """A path that ends in the run's seed, such as the run that gave its weights, is one choice over all seeds; what a sweep
    has escaped is as it was given."""
    value = re.sub(r"\\([^\w\s])", r"\1", value)
    return re.sub(rf"(?<=\D){seed}$", "${seed}", value) if "/" in value else value


def differing(runs: Sequence[Finished]) -> list[Choices]:
    """Of each run the choices in which they differ. What one leaves to its experiment is its config's value, or "default"."""
    keys = list(dict.fromkeys(key for run in runs for key in run.choices))
    table = {
        key: [run.choices[key] if key in run.choices else _default(run.config, key) for run in runs] for key in keys
    }
    varied = [key for key, values in table.items() if len(set(values)) > 1]
    return [{key: table[key][place] for key in varied} for place in range(len(runs))]


def _default(config: Mapping[str, Any], key: str) -> str:
    value: Any = config
    for part in key.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return "default"
        value = value[part]
    if isinstance(value, Mapping):
        return "default"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def compared_by(choices: Sequence[Choices], by: str | None) -> str | None:
    """The key along which runs are compared: `by`, or the one with the most values of which two are numbers. Raises UserError."""
    keys = list(choices[0])
    if by is not None:
        if by not in keys:
            hint = nearest(by, keys) or ";"
            raise UserError(f"--by: the runs do not differ in '{by}'{hint} they do in: {', '.join(keys) or 'the seed'}")
        return by
    values = {key: {one[key] for one in choices} for key in keys}
    numeric = [key for key in keys if sum(map(is_number, values[key])) > 1]
    return max(numeric, key=lambda key: len(values[key]), default=None)  # the first of several


def comparison(runs: Sequence[Finished], by: str | None) -> Comparison:
    """Runs by the values of a key (see compared_by) and by their other choices. A key that goes with it, such as epochs that
    follow the share of the data, makes no line of its own. Raises UserError where two runs of one point have one seed."""
    choices = differing(runs)
    by = compared_by(choices, by)
    at = [one[by] if by else "" for one in choices]
    rest = [key for key in choices[0] if key != by and not _follows([one[key] for one in choices], at)]
    lines = [" ".join(f"{key}={one[key]}" for key in rest) or "all" for one in choices]
    groups: dict[tuple[str, str], list[Finished]] = {}
    for run, line, value in zip(runs, lines, at, strict=True):
        groups.setdefault((line, value), []).append(run)
    for (line, value), members in groups.items():
        _once(members, f"{line} {value}".strip())
    places = sorted(set(at), key=lambda value: (not is_number(value), float(value) if is_number(value) else 0.0, value))
    names = sorted(set(lines), key=lambda line: ("=null" not in line, lines.index(line)))  # what is without comes first
    pairs = [(line, value) for line in names for value in places if (line, value) in groups]
    return Comparison(by, places, names, [Point(*pair, groups[pair]) for pair in pairs])


def _once(members: Sequence[Finished], what: str) -> None:
    seeds = [run.seed for run in members]
    twice = [shown(run.path) for run in members if seeds.count(run.seed) > 1][:2]
    if twice:
        raise UserError(f"RUN: {' and '.join(twice)} have the same choices ({what}) and seed; leave one of them out")


def _follows(values: Sequence[str], at: Sequence[str]) -> bool:
    pairs = set(zip(at, values, strict=True))
    return len(pairs) == len(set(at)) > 1


def is_number(text: str) -> bool:
    try:
        return abs(float(text)) < float("inf")
    except ValueError:
        return False
