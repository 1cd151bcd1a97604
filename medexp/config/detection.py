"""What has to fit where objects are detected: the number of outputs, the loss, and what would not move boxes with images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

OWN = "CenterHeatmap"
OBJECTS = ("boxes", "instances")


def problems(cfg: dict[str, Any]) -> Iterator[str]:
    """What does not fit."""
    if cfg["task"]["target"] in OBJECTS:
        yield from _numbers(cfg["task"])
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


def _numbers(task: dict[str, Any]) -> Iterator[str]:
    """Which of the objects that are found count."""
    for key, what in (("least", "a score of objects"), ("limit", "a share of two boxes")):
        if not 0 <= task.get(key, 0.3) <= 1:
            yield f"task.{key}: {task[key]} is no number from 0 to 1; it is {what}"
    if task.get("most", 1) < 1:
        yield f"task.most: {task['most']} is below 1, but so many objects an image are told; 200 is usual"
    if task.get("size", "auto") != "auto" and not task["size"] > 0:
        yield f"task.size: {task['size']} is not above 0; give voxels of a typical object, or auto"
