"""What has to fit where objects are detected: the number of outputs, the loss, and what would not move boxes with images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

OWN = "CenterHeatmap"


def problems(cfg: dict[str, Any]) -> Iterator[str]:
    """What does not fit."""
    name, boxes = str(cfg["loss"]["_target_"]), cfg["task"]["target"] == "boxes"
    if not boxes:
        if name.endswith(OWN):
            yield f"loss: {name} compares boxes, the task has none; choose task=detection, or another loss"
        return
    if name.startswith(("medexp.", "monai.", "torch.")) and not name.endswith(OWN):
        yield f"loss: {name} does not compare boxes; choose loss=center_heatmap"
    classes, axes = len(cfg["dataset"]["classes"]), cfg["dataset"]["spatial_dims"]
    if cfg["task"]["out_channels"] != (wanted := classes + 2 * axes):
        what = f"{classes} classes, {axes} sizes and {axes} offsets are {wanted}"
        yield f"task.out_channels: {cfg['task']['out_channels']}, but {what}; leave it to its leaf"
    if str(cfg["inferer"]["_target_"]).endswith("FlipEnsemble"):
        yield "inferer: mirror images would average offsets of opposite signs; choose sliding_window or whole"
    if cfg["augmentation"].get("elastic"):
        yield "augmentation.elastic: boxes are not bent with the image; set augmentation.elastic=0"
