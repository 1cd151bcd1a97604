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
    """A line a problem; what is said alike of many cases ("case ID: ...") is said once, with all of their ids."""
    cases: dict[str, list[str]] = {}
    for problem in problems:
        case, colon, reason = problem.removeprefix("case ").partition(": ")
        if problem.startswith("case ") and colon:
            cases.setdefault(reason, []).append(case)
    lines = []
    for problem in problems:
        reason = problem.partition(": ")[2]
        alike = cases.get(reason, []) if problem.startswith("case ") else []
        if len(alike) < ALIKE:
            lines.append(problem)
        elif alike[0] == problem.removeprefix("case ").partition(": ")[0]:
            lines.append(f"{len(alike)} cases: {reason} (cases {', '.join(alike)})")
    return lines


def nearest(word: str, allowed: list[str]) -> str:
    """`; did you mean 'x'?` for the one or two entries of `allowed` nearest to `word`, or nothing where none is near."""
    import difflib

    matches = difflib.get_close_matches(word, allowed, n=2, cutoff=0.6)
    return f"; did you mean {' or '.join(repr(match) for match in matches)}?" if matches else ""
