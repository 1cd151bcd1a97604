"""Mistakes of the user: answered in one line (or one line each) with exit code 2, never with a traceback."""

from __future__ import annotations


class UserError(Exception):
    """Something the user can mend. The message names the key, file or case, what was seen, what is allowed, the next move."""


class Faults(UserError):
    """Several mistakes found in one pass, so that nobody has to mend them one run at a time."""

    def __init__(self, headline: str, problems: list[str]) -> None:
        self.headline = headline
        self.problems = list(problems)
        super().__init__(headline, self.problems)

    def __str__(self) -> str:
        return "\n".join([self.headline, *(f"  {problem}" for problem in self.problems)])


def nearest(word: str, allowed: list[str]) -> str:
    """`; did you mean 'x'?` for the one or two entries of `allowed` nearest to `word`, or nothing where none is near."""
    import difflib

    matches = difflib.get_close_matches(word, allowed, n=2, cutoff=0.6)
    return f"; did you mean {' or '.join(repr(match) for match in matches)}?" if matches else ""
