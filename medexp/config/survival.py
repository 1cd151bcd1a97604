"""Whether what learns from follow-up fits together: the task's head, the loss, the batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

# Which loss the scores of a head are for.
LOSSES = {
    "medexp.models.hazards.ProportionalHazards": ("medexp.losses.cox.Cox", "cox"),
    "medexp.models.hazards.DiscreteHazards": ("medexp.losses.discrete_hazards.DiscreteHazards", "discrete_hazards"),
}
OTHERS = ("medexp.losses.", "monai.losses.", "torch.nn.")  # of somebody's own loss nothing is known


def problems(cfg: dict[str, Any]) -> Iterator[str]:
    """Of a config whose nodes are sound."""
    task, loss = cfg["task"], str(cfg["loss"]["_target_"])
    ours = {name for name, _ in LOSSES.values()}
    if task["target"] != "survival":
        if loss in ours:
            yield f"loss: {loss} learns from follow-up (time and event), the task does not; choose task=survival_cox, or another loss"
        return
    head = str(task["head"]["_target_"])
    wanted, option = LOSSES.get(head, (loss, ""))
    if loss != wanted and (loss in ours or loss.startswith(OTHERS)):
        yield f"loss: {loss} does not fit the scores of {head}; choose loss={option}, or another task"
        return
    channels, intervals = task["out_channels"], task["head"].get("intervals", 1)
    if channels != intervals:
        yield f"task.out_channels: {channels}, but task.head has {intervals} scores a case; leave both to the leaf of the task"
    if loss == LOSSES["medexp.models.hazards.ProportionalHazards"][0] and cfg["dataset"]["batch_size"] < 2:
        yield "dataset.batch_size: 1, but the risk set of the Cox loss is the batch: one case has nobody beside it; give 32 or more"
