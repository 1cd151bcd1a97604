"""Whether the chosen parts fit each other: dimensions, channels, targets, what is logged and what is monitored."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

from medexp.errors import nearest

# Names under which network classes take the three facts of a data set and task.
SPATIAL = ("spatial_dims",)
INPUTS = ("in_channels", "n_input_channels")
OUTPUTS = ("out_channels", "num_classes")


def problems(cfg: dict[str, Any]) -> Iterator[str]:
    """Problems of a config whose nodes are each sound on their own."""
    yield from _target(cfg)
    yield from _loss(cfg)
    facts = list(_model_facts(cfg))
    yield from facts
    yield from _monitors(cfg)
    yield from _device(cfg)
    if not facts:
        yield from _forward(cfg)


def logged(cfg: dict[str, Any]) -> list[str]:
    """Names of the values that a run logs each epoch."""
    return ["train/loss", "val/loss", *(f"val/{name}" for name in (cfg["metrics"].get("validation") or {}))]


def _target(cfg: dict[str, Any]) -> Iterator[str]:
    needed = "mask" if cfg["task"].get("target") == "mask" else "class"
    provided = cfg["dataset"].get("provides")
    if provided != needed:
        yield (
            f"dataset.provides: '{provided}', but task={cfg['task']['_target_'].rsplit('.', 1)[-1].lower()} learns from "
            f"'{needed}'; choose a dataset that has it, or another task"
        )


def _loss(cfg: dict[str, Any]) -> Iterator[str]:
    name = str(cfg["loss"]["_target_"])
    if cfg["task"].get("target") != "mask" and any(word in name for word in ("Dice", "Tversky")):
        yield f"loss: {name} compares label maps, the task has one target an image; choose cross_entropy, focal or bce"


def _model_facts(cfg: dict[str, Any]) -> Iterator[str]:
    dataset, task, model = cfg["dataset"], cfg["task"], cfg["model"]
    sides = (
        (SPATIAL, dataset["spatial_dims"], "dataset.spatial_dims"),
        (INPUTS, dataset["in_channels"], "dataset.in_channels"),
        (OUTPUTS, task["out_channels"], "task.out_channels"),
    )
    for names, fact, source in sides:
        for name in names:
            if name in model and model[name] != fact:
                yield f"model.{name}: {model[name]}, but {source} is {fact}; leave model.{name} to its leaf (${{{source}}})"
    for key in ("patch_size", "image_size", "spacing"):
        size = dataset.get(key)
        if size is not None and len(size) != dataset["spatial_dims"]:
            yield f"dataset.{key}: {size} has {len(size)} axes, but dataset.spatial_dims is {dataset['spatial_dims']}"


def _monitors(cfg: dict[str, Any]) -> Iterator[str]:
    names = logged(cfg)
    watched = {"monitor": cfg["monitor"]}
    for group in ("callbacks", "scheduler"):
        for path, node in _nodes(group, cfg[group]):
            if isinstance(node.get("monitor"), str):
                watched[f"{path}.monitor"] = node["monitor"]
    for key, name in watched.items():
        if name not in names:
            yield f"{key}: '{name}' is not logged{nearest(name, names)} logged: {', '.join(names)}"


def _nodes(path: str, node: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(node, dict):
        yield path, node
        for key, child in node.items():
            yield from _nodes(f"{path}.{key}", child)


def _device(cfg: dict[str, Any]) -> Iterator[str]:
    import torch

    accelerator = str(cfg["trainer"].get("accelerator", "auto"))
    if accelerator in ("gpu", "cuda") and not torch.cuda.is_available():
        yield f"trainer.accelerator: '{accelerator}', but torch sees no CUDA GPU here; use trainer=cpu"


def _forward(cfg: dict[str, Any]) -> Iterator[str]:
    """One forward pass of the training shape on torch's meta device: shapes without memory or arithmetic."""
    import torch
    from hydra.utils import instantiate

    dataset = cfg["dataset"]
    size = dataset.get("patch_size") or dataset.get("image_size")
    if size is None:
        return
    image = torch.empty((2, dataset["in_channels"], *size), device="meta")
    try:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            output = instantiate(cfg["model"], _convert_="all")(image)
    except Exception as error:  # whatever the network says of the shape, its first line is the reason
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        given = f"an image of {dataset['in_channels']} x {list(size)} (dataset.patch_size)"
        yield f"model: {cfg['model']['_target_']} cannot take {given}: {reason}"
        return
    yield from _output(cfg, output, tuple(size))


def _output(cfg: dict[str, Any], output: Any, size: tuple[int, ...]) -> Iterator[str]:
    first = output[0] if isinstance(output, list | tuple) else output
    dense = cfg["task"].get("target") == "mask"
    channels = cfg["task"]["out_channels"]
    stacked = first.ndim == len(size) + 3  # deep-supervision heads: (B, heads, K, *spatial)
    spatial = tuple(first.shape[-len(size) :]) if first.ndim > 2 else ()
    net = cfg["model"]["_target_"]
    if dense != bool(spatial):
        kind = "one value a voxel" if dense else "one value an image"
        yield f"model: {net} returns {tuple(first.shape)}, but the task needs {kind}; choose another model"
    elif dense and spatial != size:
        seen = f"a map of {list(spatial)} for an image of {list(size)}"
        yield f"model: {net} returns {seen}; choose a dataset.patch_size that its strides divide"
    elif first.shape[2 if stacked else 1] != channels:
        yield f"model: {net} returns {first.shape[2 if stacked else 1]} channels, but task.out_channels is {channels}"
