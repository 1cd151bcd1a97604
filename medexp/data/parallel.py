"""One thing done to many cases at once; what goes wrong with each is collected, so that all of it can be said together."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from medexp.data.progress import track
from medexp.errors import UserError

Given = TypeVar("Given")
Made = TypeVar("Made")


class Stop(UserError):
    """A mistake that is not of one case: nothing more is tried."""


def attempt(items: Sequence[Given], action: Callable[[Given], Made], text: str) -> tuple[list[Made | None], list[str]]:
    """What `action` makes of each item, in order, None where it raised UserError, and all that was raised.

    Threads: reading, unpacking and tensor arithmetic all let go of Python's lock. Raises Stop at once.
    """
    faults: list[str] = []

    def one(item: Given) -> Made | None:
        try:
            return action(item)
        except Stop:
            raise
        except UserError as error:
            faults.append(str(error))
            return None

    pool = ThreadPoolExecutor(min(32, os.cpu_count() or 1))
    try:
        outcomes = list(track(pool.map(one, items), len(items), text))
    finally:
        pool.shutdown(cancel_futures=True)  # after Ctrl-C or Stop the rest is not begun
    return outcomes, sorted(faults)
