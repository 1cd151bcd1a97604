"""Whether a task with a discriminator has one that fits, and a training that it can step by itself."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

from medexp.config import translation
from medexp.config.targets import locate, signature
from medexp.errors import nearest

SECOND = "task.discriminator_optimizer"


def problems(cfg: dict[str, Any]) -> Iterator[str]:
    """Of a config whose nodes are sound."""
    task, trainer = cfg["task"], cfg["trainer"]
    if "discriminator" not in task:
        return
    if trainer.get("accumulate_grad_batches", 1) != 1:
        seen = trainer["accumulate_grad_batches"]
        yield (
            f"trainer.accumulate_grad_batches: {seen}, but this task steps two networks with each batch; set it to 1, and "
            "dataset.batch_size higher"
        )
    strategy = trainer.get("strategy", "auto")
    if strategy != "auto" and "ddp" not in str(strategy):
        yield f"trainer.strategy: {strategy} shares out one network, this task trains two; use ddp, or one device"
    if task.get("weight", 1.0) < 0:
        yield f"task.weight: {task['weight']} is negative; 0.01 is usual, 0 leaves the discriminator without a say"
    yield from _second(cfg)
    yield from _sees(cfg) or list(_forward(cfg))


def _second(cfg: dict[str, Any]) -> Iterator[str]:
    """Values of the optimizer that differ for the discriminator."""
    given = cfg["task"].get("discriminator_optimizer") or {}
    if "_target_" in given:
        return
    name = cfg["optimizer"]["_target_"]
    known = signature(locate(name))
    for key in given:
        if key not in known.hints and not known.open:
            hint = nearest(key, list(known.hints)) or ";"
            yield f"{SECOND}.{key}: {name} has no such argument{hint} it is given values of optimizer that differ"


def channels(cfg: dict[str, Any]) -> int:
    """That the discriminator is shown."""
    return translation.outputs(cfg) + translation.inputs(cfg) * bool(cfg["task"].get("condition"))


def _sees(cfg: dict[str, Any]) -> list[str]:
    node, found = cfg["task"]["discriminator"], []
    if node.get("in_channels", channels(cfg)) != channels(cfg):
        both = f"{translation.outputs(cfg)} of the image and {translation.inputs(cfg)} of the input (task.condition)"
        what = both if cfg["task"].get("condition") else f"the {channels(cfg)} of the image"
        found.append(
            f"task.discriminator.in_channels: {node['in_channels']}, but it sees {what}; set it to {channels(cfg)}"
        )
    axes = cfg["dataset"]["spatial_dims"]
    if node.get("spatial_dims", axes) != axes:
        found.append(f"task.discriminator.spatial_dims: {node['spatial_dims']}, but dataset.spatial_dims is {axes}")
    return found


def _forward(cfg: dict[str, Any]) -> Iterator[str]:
    """The discriminator on the training shape, on torch's meta device."""
    import torch

    from medexp.config.pairing import _on_meta

    size = cfg["dataset"].get("patch_size") or cfg["dataset"].get("image_size")
    if size is None:
        return
    node = cfg["task"]["discriminator"]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _on_meta(node)(torch.empty((2, channels(cfg), *size), device="meta"))
    except Exception as error:  # whatever the network says of the shape, its first line is the reason
        reason = (str(error.__cause__ or error).strip().splitlines() or [type(error).__name__])[0]
        yield (
            f"task.discriminator: {node['_target_']} cannot take {channels(cfg)} x {list(size)}: {reason}; give it fewer "
            "layers (num_layers_d), or a larger dataset.patch_size"
        )
