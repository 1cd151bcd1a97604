"""Follow-up as a target: how long a patient was seen, and whether the event came."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from medexp.data.records import Record
from medexp.errors import UserError


def survival(record: Record, classes: Sequence[str]) -> Tensor:
    """float (2,): time to the event or to the end of follow-up, in the data's own unit, and 1 where the event came (0:
    censored). `classes` is not used. Raises UserError."""
    given = record.target
    if not isinstance(given, list | tuple) or len(given) != 2:
        raise UserError(
            f"case {record.case_id}: target {given!r} is no pair of time and event; name both columns in dataset.source"
        )
    try:
        time, event = (float(value) for value in given)
    except (TypeError, ValueError):
        raise UserError(f"case {record.case_id}: time {given[0]!r}, event {given[1]!r}: numbers are needed") from None
    if not math.isfinite(time) or time < 0:
        raise UserError(f"case {record.case_id}: time {time:g}: a time of follow-up is 0 or more; mend it")
    if event not in (0.0, 1.0):
        raise UserError(f"case {record.case_id}: event {event:g}: 1 (it came) or 0 (censored) is needed; mend it")
    return torch.tensor([time, event])
