"""Mistakes of the user: answered in one line (or one line each) with exit code 2, never with a traceback."""

from __future__ import annotations

ALIKE = 5  # cases of which the same is said, from which on it is said once


class UserError(Exception):
    """Something the user can mend. The message names the key, file or case, what was seen, what is allowed, the next move."""


class Faults(UserError):
    """Several mistakes found in one pass, so that nobody has to mend them one run at a time."""

    def __init__(self, headline: str, problems: list[str]) -> None:
        self.headline = headline
        self.problems = list(problems)
        super().__init__(headline, self.problems)

    def __str__(self) -> str:
        return "\n".join([self.headline, *(f"  {line}" for line in grouped(self.problems))])


def grouped(problems: list[str]) -> list[str]:
    """A line a problem; what is said alike of many cases, or rows of a table ("case ID: ...", "row 7: ..."), is said once, with
    all of them."""
    alike: dict[tuple[str, str], list[str]] = {}
    parts = [_of_one(problem) for problem in problems]
    for noun, name, reason in parts:
        if noun:
            alike.setdefault((noun, reason), []).append(name)
    lines = []
    for problem, (noun, name, reason) in zip(problems, parts, strict=True):
        names = alike.get((noun, reason), [])
        if len(names) < ALIKE:
            lines.append(problem)
        elif names[0] == name:
            lines.append(f"{len(names)} {noun}s: {reason} ({noun}s {', '.join(names)})")
    return lines


def _of_one(problem: str) -> tuple[str, str, str]:
    """Noun, name and what is said of a case or row; no noun where it is of neither."""
    noun, _, rest = problem.partition(" ")
    name, colon, reason = rest.partition(": ")
    return (noun, name, reason) if noun in ("case", "row") and colon else ("", "", problem)


def counted(count: int, noun: str) -> str:
    """`1 case`, `2 cases`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def nearest(word: str, allowed: list[str]) -> str:
    """`; did you mean 'x'?` for the one or two entries of `allowed` nearest to `word`, or nothing where none is near."""
    import difflib

    matches = difflib.get_close_matches(word, allowed, n=2, cutoff=0.6)
    return f"; did you mean {' or '.join(repr(match) for match in matches)}?" if matches else ""
