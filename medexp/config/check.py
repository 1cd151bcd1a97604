"""All checks that need no data: every `_target_` resolved, every key bound against the real signature, all problems at once."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from medexp.config.targets import locate, signature
from medexp.config.types import fits, spell
from medexp.errors import Faults, UserError, nearest

RESERVED = {"_target_", "_partial_", "_recursive_", "_convert_", "_args_"}
# What `build` adds to a node: not to be given in YAML, not to be missed there.
INJECTED: dict[str, set[str]] = {
    "task": {"net", "loss", "optimizer", "scheduler", "inferer", "metrics", "mode", "seed", "learning"},
    "dataset": {"augmentation", "degradation", "seed"},
    "trainer": {"callbacks", "logger", "default_root_dir"},
}
MAPPINGS = {"callbacks": "callback", "logger": "logger"}  # groups that hold named nodes (or null) rather than one node
GROUPS = (
    *("task", "dataset", "model", "init", "loss", "optimizer", "scheduler", "augmentation", "inferer", "trainer"),
    *("callbacks", "logger", "metrics"),
)
OPTIONAL = ("degradation", "learning")  # groups that may be left out
KNOWN = ("medexp", "monai", "torch", "torchmetrics", "torchvision", "pytorch_lightning")  # whose numbers are finite
TAKEN = {"roi_size": "dataset.patch_size"}  # arguments that leaves take from another key


def check(cfg: dict[str, Any], headline: str) -> None:
    """Raises Faults with every problem of a resolved config; returns where there is none."""
    from medexp.config import pairing

    groups = [*GROUPS, *(group for group in OPTIONAL if cfg.get(group))]
    problems = [problem for group in groups for problem in _group(group, cfg.get(group) or {})]
    problems += [problem for key, value in cfg.items() for problem in _finite(key, value)]
    problems += pairing.problems(cfg, sound=not problems)
    if cfg["figures"] < 0:
        problems.append(f"figures: {cfg['figures']} is negative; give a number of test cases to draw, 0 for none")
    if ".." in str(cfg["name"]).split("/") or str(cfg["name"]).startswith("/"):
        problems.append(f"name: '{cfg['name']}' leads out of outputs/; give a plain name, or run_dir=PATH")
    if cfg["mode"] not in ("max", "min"):
        problems.append(f"mode: '{cfg['mode']}' is not one of max, min")
    if problems:
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        raise Faults(f"{count} in {headline}", problems)


def _group(group: str, node: dict[str, Any]) -> Iterator[str]:
    if group in MAPPINGS:
        for name, child in node.items():
            if child is not None:
                yield from _needs_target(f"{group}.{name}", child, MAPPINGS[group])
    elif group == "metrics":
        yield from _metrics(node)
    else:
        yield from _needs_target(group, node, group, INJECTED.get(group, set()))


def _metrics(node: dict[str, Any]) -> Iterator[str]:
    for key in node:
        if key not in ("validation", "test"):
            yield f"metrics.{key}: no such key{nearest(key, ['validation', 'test']) or ';'} allowed: validation, test"
    validation = node.get("validation") or {}
    if not isinstance(validation, dict):
        yield f"metrics.validation: {_show(validation)} is no mapping of names to metrics"
        validation = {}
    for name, child in validation.items():
        yield from _needs_target(f"metrics.validation.{name}", child, "metric")
    yield from _needs_target("metrics.test", node.get("test") or {}, "scorer of the test split")


def _needs_target(path: str, node: Any, noun: str, injected: set[str] = frozenset()) -> Iterator[str]:  # type: ignore[assignment]
    if not isinstance(node, dict) or "_target_" not in node:
        yield f"{path}: names no class (_target_) for the {noun}; choose an option of the group (`medexp list`) or give {path}._target_=..."
        return
    yield from _node(path, node, injected)


def _node(path: str, node: dict[str, Any], injected: set[str]) -> Iterator[str]:
    try:
        target = locate(str(node["_target_"]))
    except UserError as error:
        yield f"{path}._target_: {error}"
        return
    known = signature(target)
    given = {key: value for key, value in node.items() if key not in RESERVED}
    name = node["_target_"]
    for key, value in given.items():
        where = f"{path}.{key}"
        if key in injected:
            yield f"{where}: is set by medexp itself; leave it out"
        elif key not in known.hints and not known.open:
            yield f"{where}: {name} has no such argument{nearest(key, list(known.hints)) or '; it has: ' + ', '.join(known.hints)}"
        elif key in known.hints and not fits(value, known.hints[key]):
            taken = (
                f"; it is taken from {TAKEN[key]}, which is null: set that" if value is None and key in TAKEN else ""
            )
            yield f"{where}: {_show(value)} is not {spell(known.hints[key])}{taken}"
        else:
            yield from _nested(where, value)
    yield from _nested(f"{path}._args_", node.get("_args_"))
    if not node.get("_partial_") and "_args_" not in node:
        for key in sorted(known.required - set(given) - injected):
            yield f"{path}.{key}: missing; {name} needs it"


def _nested(path: str, value: Any) -> Iterator[str]:
    if isinstance(value, dict) and "_target_" in value:
        yield from _node(path, value, set())
    elif isinstance(value, dict):
        for key, child in value.items():
            yield from _nested(f"{path}.{key}", child)
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from _nested(f"{path}[{index}]", child)


def _finite(path: str, value: Any) -> Iterator[str]:
    """No comparison finds NaN, and infinity is above every least value: both would be found by the first step alone. Only a
    class of the user's own may know what they are."""
    if isinstance(value, dict):
        own = "_target_" in value and str(value["_target_"]).partition(".")[0] not in KNOWN
        for key, child in () if own else value.items():
            yield from _finite(f"{path}.{key}", child)
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from _finite(f"{path}[{index}]", child)
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"{path}: {value} is no finite number; give one"


def _show(value: Any) -> str:
    return f"'{value}'" if isinstance(value, str) else str(value)
