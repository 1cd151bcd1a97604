"""Whether an image-to-image task has the pairs that it learns from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

OF_CLASSES = ("Dice", "Tversky", "Entropy", "Focal", "Cox", "Hazards")  # words in the names of losses

DEGRADATION = "medexp.transforms.degradation.Degradation"
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
    yield from _seen_by(cfg)
    yield from _factor(cfg, degradation)
    channels = cfg["dataset"]["in_channels"]
    for key in ("inputs", "outputs"):
        chosen = degradation.get(key)
        if chosen is not None and max(chosen, default=0) >= channels:
            yield f"degradation.{key}: {chosen}, but dataset.in_channels is {channels} (channels count from 0)"
    if images and cfg["dataset"].get("missing") == "zero" and not degradation.get("unpaired"):
        yield "dataset.missing: zero would make empty references of channels that a case lacks; set it to drop"
    if images and cfg["task"]["out_channels"] != outputs(cfg):
        seen = f"{cfg['task']['out_channels']}, but {outputs(cfg)} channels are to be given (degradation.outputs)"
        yield f"task.out_channels: {seen}; set it to that"
    if images and cfg["task"].get("residual") and inputs(cfg) != outputs(cfg):
        yield (
            f"task.residual: true needs as many channels in as out, these are {inputs(cfg)} and {outputs(cfg)} "
            "(degradation.inputs, outputs); set task.residual=false"
        )


def _factor(cfg: dict[str, Any], degradation: dict[str, Any]) -> Iterator[str]:
    """Of voxels that become one: a number, or one an axis, none of them above what there is."""
    given, dims = degradation.get("factor"), cfg["dataset"]["spatial_dims"]
    if given is None or degradation["_target_"] != DEGRADATION:
        return
    factors = [given] * dims if isinstance(given, int) else given
    if len(factors) != dims:
        yield f"degradation.factor: {given} for images of {dims} axes; give one number, or one for each axis"
        return
    key = next((key for key in ("patch_size", "image_size") if cfg["dataset"].get(key)), None)
    for axis, (factor, size) in enumerate(zip(factors, cfg["dataset"][key] if key else (), strict=False)):
        if factor > size:
            what = f"{factor} is above the {size} voxels of axis {axis} (dataset.{key})"
            yield f"degradation.factor: {what}; give at most {size}, 2 to 4 are usual"
            return


def _seen_by(cfg: dict[str, Any]) -> Iterator[str]:
    """What a loss that looks through another network needs of it."""
    loss = cfg["loss"]
    if "weights" not in loss or not isinstance(loss.get("net"), dict):
        return
    dims = loss["net"].get("spatial_dims", cfg["dataset"]["spatial_dims"])
    if dims != cfg["dataset"]["spatial_dims"]:
        yield f"loss.net: is of {dims} dimensions, dataset.spatial_dims is {cfg['dataset']['spatial_dims']}; give another run"
    if loss["in_channels"] not in (1, outputs(cfg)):
        yield f"loss.in_channels: {loss['in_channels']}, but images of {outputs(cfg)} are compared; give a run of 1 or as many"
    if not cfg.get("resume") and not Path(loss["weights"]).exists():  # one that goes on has them in its checkpoint
        yield f"loss.weights: {loss['weights']} does not exist; give a run folder or a file of weights"


def inputs(cfg: dict[str, Any]) -> int:
    """Channels that the network is given."""
    return len((cfg.get("degradation") or {}).get("inputs") or ()) or int(cfg["dataset"]["in_channels"])


def outputs(cfg: dict[str, Any]) -> int:
    """Channels that it is to give."""
    return len((cfg.get("degradation") or {}).get("outputs") or ()) or int(cfg["dataset"]["in_channels"])
