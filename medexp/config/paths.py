"""Where the config groups are: the shipped ones, and a user's own `./conf`, which adds to and shadows them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import medexp


def shipped() -> Path:
    """The shipped conf/. A checkout's live folder wins over the frozen copy that an editable install leaves in the package."""
    package = Path(medexp.__file__).resolve().parent
    beside = package.parent / "conf"
    return beside if (beside / "train.yaml").is_file() else package / "conf"


def own() -> Path | None:
    """The user's ./conf, or None where there is none or it is the shipped one."""
    here = Path.cwd() / "conf"
    return here if here.is_dir() and here.resolve() != shipped().resolve() else None


def roots() -> list[Path]:
    """All conf folders, the one that shadows the others first."""
    return [*([found] if (found := own()) else []), shipped()]


def groups() -> list[str]:
    """Names of all config groups (model, dataset, ...)."""
    found = {entry.name for root in roots() for entry in root.iterdir() if entry.is_dir() and entry.name.isidentifier()}
    return sorted({*found, "plan"})  # plans are of the user's own making: there are none at first


def options(group: str) -> dict[str, Path]:
    """Options of a group by name ("segmentation/hippocampus" in nested groups); names that begin with _ are parts, not options."""
    found: dict[str, Path] = {}
    for root in roots():
        for leaf in sorted((root / group).rglob("*.yaml")):
            name = leaf.relative_to(root / group).with_suffix("").as_posix()
            if not any(part.startswith("_") for part in name.split("/")):
                found.setdefault(name, leaf)
    return dict(sorted(found.items()))


def summary(leaf: Path) -> str:
    """The comment that a leaf begins with: what it is, or the command that runs it. (Hydra wants `@package` before it.)"""
    with leaf.open(encoding="utf-8") as file:
        for line in file:
            if not line.startswith("# @package"):
                return line.lstrip("# ").strip() if line.startswith("#") else ""
    return ""


def facts(group: str, option: str) -> dict[str, Any]:
    """Plain values at the top of a leaf, those of the leaves that it is made of among them."""
    import yaml

    leaf = options(group).get(option)
    node = yaml.safe_load(leaf.read_text(encoding="utf-8")) if leaf else None
    if not isinstance(node, dict):
        return {}
    found: dict[str, Any] = {}
    for base in node.get("defaults") or ():
        if isinstance(base, str) and base not in ("_self_", option):
            found |= facts(group, base)
    return found | {str(key): value for key, value in node.items() if not isinstance(value, dict | list)}
