"""Which tensor of a source is which of the network, by name."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

from medexp.errors import UserError

WRAPPERS = ("module.", "net.", "model.")  # of DDP, of medexp's tasks, of many other trainers
COMPILED = "_orig_mod."  # torch.compile


def matched(
    there: Iterable[str], wanted: Collection[str], prefix: str | None, rename: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    """{name in the network: name in the source}, and {name in the source: why it is not used}.

    prefix: only names that begin with it are taken, without it. rename: {pattern: replacement}, regular expressions, in
    order. A name that is not the network's own loses the wrappers of common trainers, one by one, until it is.
    Raises UserError for a pattern that is none, and where no name begins with the prefix.
    """
    found: dict[str, str] = {}
    unused: dict[str, str] = {}
    there = list(there)
    rules = [(_pattern("rename", pattern), new) for pattern, new in rename.items()]
    if prefix and not any(name.startswith(prefix) for name in there):
        tops = sorted({name.partition(".")[0] for name in there})
        raise UserError(f"init.prefix: no tensor begins with '{prefix}'; they begin with {', '.join(tops[:12])}")
    exact_first = sorted(there, key=lambda name: name not in wanted)
    for name in exact_first:
        if prefix and not name.startswith(prefix):
            unused[name] = "outside of init.prefix"
            continue
        own = _own(name[len(prefix or "") :], wanted, rules)
        if own is None:
            unused[name] = "the network has no such tensor"
        elif own in found:
            unused[name] = f"{found[own]} has that name too"
        else:
            found[own] = name
    return found, unused


def left_out(name: str, patterns: Iterable[str]) -> bool:
    """Whether a pattern (regular expression) occurs in a name of the network. Raises UserError for one that is none."""
    return any(_pattern("leave_out", pattern).search(name) for pattern in patterns)


def _own(name: str, wanted: Collection[str], rules: list[tuple[re.Pattern[str], str]]) -> str | None:
    name = name.replace(COMPILED, "")
    while True:
        renamed = name
        for pattern, new in rules:
            renamed = pattern.sub(new, renamed)
        if renamed in wanted:
            return renamed
        wrapper = next((wrapper for wrapper in WRAPPERS if name.startswith(wrapper)), None)
        if wrapper is None:
            return None
        name = name[len(wrapper) :]


def _pattern(key: str, text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise UserError(f"init.{key}: '{text}' is no regular expression: {error}") from None
