"""A metric that has counted nothing, on a rank that has a case only to be in step with the others."""

from __future__ import annotations

from typing import Any

import torch
from torchmetrics import Metric


def empty(metric: Metric) -> None:
    """Nothing counted, in the shapes that ranks exchange (`Metric.reset` would leave lists without a tensor)."""
    defaults: dict[str, Any] = metric._defaults
    for name, nothing in defaults.items():
        value: Any = getattr(metric, name)
        none: Any = [part[:0] for part in value] if isinstance(value, list) else torch.zeros_like(value) + nothing
        setattr(metric, name, none)
