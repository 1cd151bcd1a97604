"""How far a long pass is: a bar with an estimate where somebody is looking, a line now and then in a log."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import track as rich_track

T = TypeVar("T")
log = logging.getLogger(__name__)
PATIENCE = 30.0  # seconds between lines


def track(items: Iterable[T], total: int, text: str) -> Iterator[T]:
    """The items, with a bar on a terminal; in a file or pipe a line every PATIENCE seconds."""
    if sys.stderr.isatty():
        yield from rich_track(items, description=text, total=total, console=Console(stderr=True), transient=True)
        return
    begun = said = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if done and now - said >= PATIENCE:
            said = now
            minutes, seconds = divmod(round((now - begun) / done * (total - done)), 60)
            log.info("%s: %d of %d, left %d:%02d", text, done, total, minutes, seconds)
        yield item
