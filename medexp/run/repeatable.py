"""Whether the same command gives the same bits again, and what would stand in the way."""

from __future__ import annotations

from typing import Any

NEEDS = "the same versions, device type, ranks and threads: sums in another order differ in the last bits"


def conditions(cfg: dict[str, Any], trainer: Any) -> dict[str, Any]:
    """For environment.json: what equal bits hang on in this run, and which of its settings break them."""
    import torch

    node = cfg["trainer"]
    on_gpu = trainer.strategy.root_device.type != "cpu"
    breaks = []
    if on_gpu and not node.get("deterministic"):
        breaks.append("trainer.deterministic is off: kernels of a GPU may add in any order")
    if on_gpu and node.get("benchmark"):
        breaks.append("trainer.benchmark is on: kernels are chosen by their speed of the day")
    if node.get("max_time"):
        breaks.append("trainer.max_time: the number of steps hangs on the clock")
    return {
        "deterministic": bool(node.get("deterministic")),
        "device": trainer.strategy.root_device.type,
        "ranks": trainer.world_size,
        "threads": torch.get_num_threads(),
        "precision": str(trainer.precision),
        "needs": NEEDS,
        "broken_by": breaks,
    }
