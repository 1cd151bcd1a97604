"""Which modalities a case has, and cases without one of theirs, to see what a model makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from medexp.data.preparation.prepare import Prepared
from medexp.data.records import Record


def present(record: Record, in_channels: int) -> Tensor:
    """float (C,): 1 for the channels that a case has an image of."""
    each = 1 if record.slice is None else 2 * record.slice.neighbours + 1  # channels that one of a file becomes
    return torch.tensor([float(channel // each not in record.missing) for channel in range(in_channels)])


def without(facts: dict[str, Any], prepared: Prepared, channels: Sequence[int]) -> tuple[dict[str, Any], Prepared]:
    """A case as if it lacked these channels: they are zero, as those of cases that do, and `present` (C,) says so."""
    if not channels:
        return facts, prepared
    image = prepared.image.clone()
    image[list(channels)] = 0
    present = facts["present"].clone() if "present" in facts else torch.ones(len(image))
    present[list(channels)] = 0
    missing = tuple(sorted({*prepared.missing, *channels}))
    return {**facts, "present": present}, replace(prepared, image=image, missing=missing)
