"""Whether what learns measures, grades or several things at once fits together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from medexp.targets import unit, width

OVERLAP = ("Dice", "Tversky")
# Words in the name of a loss that cannot take the scores of a kind; a binary cross-entropy is no ".CrossEntropy".
UNFIT = {"value": (*OVERLAP, "CrossEntropy", "Focal", "BCE"), "ordinal": (*OVERLAP, ".CrossEntropy")}
OWN = ("value", "ordinal", "multitask")  # kinds whose losses are judged here
INSTEAD = {"value": "mse, mae or smooth_l1", "ordinal": "bce or focal"}


def problems(cfg: dict[str, Any]) -> Iterator[str]:
    """Of a config whose nodes are sound."""
    kind, dataset = cfg["task"]["target"], cfg["dataset"]
    targets = dataset.get("targets") or {}
    loss = str(cfg["loss"]["_target_"])
    if any(word in loss for word in UNFIT.get(kind, ())):
        what = "measures" if kind == "value" else "K - 1 yes-or-no answers"
        yield f"loss: {loss} does not fit {what}; choose loss={INSTEAD[kind]}"
    if kind == "ordinal" and len(dataset["classes"]) < 2:
        yield f"dataset.classes: {dataset['classes']}: two grades or more are needed, lowest first"
    if kind in ("value", "multitask"):
        yield from _targets(cfg, targets, kind)
    if dataset.get("resize") is False and dataset.get("image_size") is None:
        yield "dataset.resize: false pads or cuts to dataset.image_size, which is not given; give it, or leave resize out"


def _targets(cfg: dict[str, Any], targets: dict[str, Any], kind: str) -> Iterator[str]:
    dataset = cfg["dataset"]
    if not targets:
        example = "{volume: ml}" if kind == "value" else "{volume: ml, presence: [healthy, lesion]}"
        yield f"dataset.targets: names no target; give dataset.targets={example}"
        return
    classes = [name for name, entry in targets.items() if unit(entry) is None]
    if kind == "value" and classes:
        yield f"dataset.targets.{classes[0]}: names classes, the task learns measures; give a unit, or choose task=multitask"
    if kind == "value" and cfg["task"]["out_channels"] != len(targets):
        seen = f"{cfg['task']['out_channels']}, but dataset.targets names {len(targets)}"
        yield f"task.out_channels: {seen}; leave it to its leaf"
    if dataset.get("patch_size") is not None:
        yield f"dataset.patch_size: {dataset['patch_size']}, but a target is of the whole image; set dataset.patch_size=null"
    volumes = [name for name, entry in targets.items() if isinstance(entry, dict)]
    if volumes and dataset.get("image_size") is not None and dataset.get("resize", True):
        yield f"dataset.resize: true makes images of one size, which hides {volumes[0]}; set dataset.resize=false"


def output(cfg: dict[str, Any], found: Any, size: tuple[int, ...]) -> Iterator[str]:
    """Whether a network gives a map and the outputs of all heads; found: what it made of an image of this size."""
    if cfg["task"]["target"] != "multitask":
        return
    first = found[0] if isinstance(found, list | tuple) else found
    heads = sum(width(entry) for entry in cfg["dataset"]["targets"].values())
    wanted = cfg["task"]["out_channels"] + heads
    if first.ndim != len(size) + 2 or first.shape[1] != wanted or tuple(first.shape[2:]) != size:
        yield (
            f"model: {cfg['model']['_target_']} returns {tuple(first.shape)[1:]}, but a map of {list(size)} with {wanted} channels, "
            f"{heads} of them of heads, is needed; choose model=unet_heads, or another *_heads"
        )
