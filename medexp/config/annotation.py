"""Whether a loss knows what to do with label maps that say less than one class a voxel (`dataset.ignore`, `dataset.annotation`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from medexp.config.targets import locate
from medexp.targets import IGNORED

FITTING = "partial_dice_ce, or partial_ce for scribbles and points"


def problems(cfg: dict[str, Any]) -> Iterator[str]:
    """What does not fit."""
    dataset, loss = cfg["dataset"], cfg["loss"]
    annotation = dataset.get("annotation")
    key = "dataset.annotation" if annotation else "dataset.ignore"
    groups = (annotation or {}).get("groups") or []
    if "groups" in loss and list(loss["groups"] or []) != list(groups):
        yield f"loss.groups: {loss['groups']}, but dataset.annotation.groups is {groups}; leave it to its leaf"
    if not annotation and dataset.get("ignore") is None:
        return
    kind = cfg["task"]["target"]
    if kind != "mask":
        yield f"{key}: is of label maps, task.target is '{kind}'; choose task=segmentation, or set it to null"
        return
    count = len(dataset["classes"]) + len(groups)
    if count > IGNORED:
        yield f"dataset.classes: {count} values of classes and groups; with {key} at most {IGNORED} fit a byte"
    name = str(loss["_target_"])
    if annotation and annotation.get("absent") == "background" and dataset.get("ignore") is None:
        return
    if not getattr(locate(name), "partial_labels", False):
        yield f"loss: {name} wants a class of every voxel, {key} leaves some open; choose loss={FITTING}"
