"""Whether a translation that learns without pairs has two sets of images, and a network back."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

from medexp.config import translation
from medexp.config.trial import on_meta, reason

TASK = "medexp.tasks.cyclegan.CycleGan"


def problems(cfg: dict[str, Any]) -> Iterator[str]:
    """Of a config whose nodes are sound."""
    degradation, task, dataset = cfg.get("degradation") or {}, cfg["task"], cfg["dataset"]
    unpaired, cycles = bool(degradation.get("unpaired")), task["_target_"] == TASK
    if unpaired and not cycles:
        yield "degradation.unpaired: true, but this task learns from pairs; choose task=cyclegan, or degradation=other_channels"
    if not cycles:
        return
    if degradation and not unpaired:
        yield "degradation: makes pairs, but task=cyclegan learns without; choose degradation=unpaired_channels, or task=pix2pix"
    if unpaired and dataset.get("augment_on_device"):
        yield "dataset.augment_on_device: true, but images of different patients are put together before; set it to false"
    if unpaired and dataset.get("balance"):
        yield f"dataset.balance: {dataset['balance']}, but the two sets say what is drawn; set it to null"
    one, other = translation.inputs(cfg), translation.outputs(cfg)
    if task.get("identity", 5.0) and one != other:
        yield f"task.identity: {task.get('identity', 5.0)} needs as many channels in as out, these are {one} and {other}; set it to 0"
    yield from _back(cfg, other, one)


def _back(cfg: dict[str, Any], given: int, wanted: int) -> Iterator[str]:
    """The network back on the training shape, on torch's meta device."""
    import torch

    size = cfg["dataset"].get("patch_size") or cfg["dataset"].get("image_size")
    if size is None:
        return
    net = cfg["task"]["inverse"]["_target_"]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = on_meta(cfg["task"]["inverse"])(torch.empty((2, given, *size), device="meta"))
    except Exception as error:  # whatever the network says of the shape, its first line is the reason
        yield f"task.inverse: {net} cannot take {given} x {list(size)}: {reason(error)}; give it the channels of degradation.outputs"
        return
    if list(found.shape[1:]) != [wanted, *size]:
        yield f"task.inverse: {net} returns {list(found.shape[1:])}, but {[wanted, *size]} is needed (degradation.inputs)"
