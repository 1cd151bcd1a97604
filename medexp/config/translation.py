"""Whether an image-to-image task has the pairs that it learns from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

OF_CLASSES = ("Dice", "Tversky", "Entropy", "Focal", "Cox", "Hazards")  # words in the names of losses

PRETRAINING = ("views",)  # targets of tasks whose pairs are not for restoration


def problems(cfg: dict[str, Any]) -> Iterator[str]:
    """What does not fit of degradation, task and data set."""
    degradation, images = cfg.get("degradation") or {}, cfg["task"].get("target") == "image"
    if cfg["task"].get("target") in PRETRAINING:  # says more
        return
    if bool(degradation) != images:
        wanted = "give one, e.g. degradation=gaussian_noise" if images else "only task=translation restores images"
        yield f"degradation: {'null' if images else degradation['_target_']}; {wanted} (`medexp list degradation`)"
        return
    loss = str(cfg["loss"]["_target_"])
    if images and any(word in loss for word in OF_CLASSES):
        yield f"loss: {loss} compares classes, the task gives images; choose mae, mse, smooth_l1 or structural"
    channels = cfg["dataset"]["in_channels"]
    for key in ("inputs", "outputs"):
        chosen = degradation.get(key)
        if chosen is not None and max(chosen, default=0) >= channels:
            yield f"degradation.{key}: {chosen}, but dataset.in_channels is {channels} (channels count from 0)"
    if images and cfg["task"]["out_channels"] != outputs(cfg):
        seen = f"{cfg['task']['out_channels']}, but {outputs(cfg)} channels are to be given (degradation.outputs)"
        yield f"task.out_channels: {seen}; set it to that"
    if images and cfg["task"].get("residual") and inputs(cfg) != outputs(cfg):
        yield (
            f"task.residual: true needs as many channels in as out, these are {inputs(cfg)} and {outputs(cfg)} "
            "(degradation.inputs, outputs); set task.residual=false"
        )


def inputs(cfg: dict[str, Any]) -> int:
    """Channels that the network is given."""
    return len((cfg.get("degradation") or {}).get("inputs") or ()) or int(cfg["dataset"]["in_channels"])


def outputs(cfg: dict[str, Any]) -> int:
    """Channels that it is to give."""
    return len((cfg.get("degradation") or {}).get("outputs") or ()) or int(cfg["dataset"]["in_channels"])
