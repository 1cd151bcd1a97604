"""Numbers below the least that they can mean: sizes, channels, rates and weights, by their keys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

LEAST = {
    **dict.fromkeys(("dataset.in_channels", "dataset.patch_size", "dataset.image_size"), 1),
    **dict.fromkeys(("inferer.divisible_by", "inferer.inferer.divisible_by", "trainer.accumulate_grad_batches"), 1),
    "task.horizon": 1,
    **dict.fromkeys(("trainer.gradient_clip_val", "task.l1", "optimizer.lr", "optimizer.weight_decay"), 0),
    **dict.fromkeys(("task.discriminator_optimizer.lr", "scheduler.schedule.eta_min", "scheduler.schedule.min_lr"), 0),
}


def problems(cfg: dict[str, Any]) -> Iterator[str]:
    """Of a config whose nodes are sound. Networks and schedules would take some of these, or end without naming the key."""
    for path, least in LEAST.items():
        value: Any = cfg
        for key in path.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        numbers = value if isinstance(value, list) else [value]
        if any(isinstance(number, int | float) and number < least for number in numbers):
            yield f"{path}: {value} is below {least}; give {least} or more{' along each axis' * isinstance(value, list)}"
