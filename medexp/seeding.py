"""Stateless randomness: every draw's seed is a function of what it is for, so order, workers and resume do not matter."""

from __future__ import annotations

import hashlib


def derive(*parts: int | str) -> int:
    """A seed in [0, 2**31) from any ints and words, equal in every process and on every machine."""
    digest = hashlib.blake2b("\x1f".join(map(str, parts)).encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") >> 1
