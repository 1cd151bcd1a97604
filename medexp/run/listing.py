"""`medexp list`: every option of every config group, with the line that its leaf begins with."""

from __future__ import annotations

import json

from medexp.config import paths
from medexp.errors import UserError, nearest


def options(groups: list[str]) -> dict[str, dict[str, str]]:
    """{group: {option: line}}. A plural ("models") is understood. Raises UserError for an unknown group."""
    known = paths.groups()
    chosen = []
    for group in groups or known:
        name = next((entry for entry in known if group in (entry, f"{entry}s", f"{entry}es")), None)
        if name is None:
            raise UserError(f"list: no config group '{group}'{nearest(group, known) or ';'} groups: {', '.join(known)}")
        chosen.append(name)
    return {group: {name: paths.summary(leaf) for name, leaf in paths.options(group).items()} for group in chosen}


def show(groups: list[str], as_json: bool) -> str:
    """The options as text, or as JSON."""
    found = options(groups)
    if as_json:
        return json.dumps(found, indent=1)
    width = max((len(name) for leaves in found.values() for name in leaves), default=0)
    blocks = []
    for group, leaves in found.items():
        blocks.append("\n".join([group, *(f"  {name:<{width}}  {line}" for name, line in leaves.items())]))
    return "\n\n".join(blocks)
