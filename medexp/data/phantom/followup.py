"""Follow-up series of the phantom as studies of several frames: all of them, or of varying lengths."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from medexp.data.phantom.anatomy import FOLLOWUPS
from medexp.data.records import Record

Kind = Literal["all", "varying"]


def followed(record: Record, row: Mapping[str, str], root: Path, seed: int, kind: Kind) -> Record:
    """A scan's record with its follow-up series as frames, and of a target that has a value a frame those of the frames
    that are kept. row: of cases.csv. Times count scans: what was missed leaves a gap."""
    kept = range(FOLLOWUPS) if kind == "all" else attended(seed, record.case_id)
    paths, values = row["followup"].split(";"), record.target
    if isinstance(values, list) and len(values) == FOLLOWUPS:
        values = [values[time] for time in kept]
    images = tuple(root / paths[time] for time in kept)
    return replace(record, images=images, target=values, times=tuple(float(time) for time in kept))


def attended(seed: int, case_id: str) -> list[int]:
    """Which scans a patient came to, by seed and case alone: the last, and one or more of those before it, each choice as
    likely."""
    digest = hashlib.blake2b(f"followup {seed} {case_id}".encode(), digest_size=8).digest()
    choice = int(np.random.default_rng(int.from_bytes(digest, "little")).integers(1, 2 ** (FOLLOWUPS - 1)))
    return [*(time for time in range(FOLLOWUPS - 1) if choice >> time & 1), FOLLOWUPS - 1]
