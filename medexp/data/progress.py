"""A progress bar with an estimate, where somebody is looking."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import track as rich_track

T = TypeVar("T")


def track(items: Iterable[T], total: int, text: str) -> Iterator[T]:
    """The items, with a bar on a terminal; silent in a file or pipe."""
    console = Console(stderr=True)
    yield from rich_track(
        items, description=text, total=total, console=console, transient=True, disable=not sys.stderr.isatty()
    )
