"""Whether the chosen parts fit each other: dimensions, channels, targets, what is logged and what is monitored."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

from medexp.config import (
    adversarial,
    annotation,
    autoencoder,
    detection,
    diffusion,
    learning,
    mixing,
    modalities,
    parts,
    paths,
    pretraining,
    sequence,
    survival,
    translation,
    values,
)
from medexp.config.trial import on_meta, reason
from medexp.errors import nearest
from medexp.targets import KINDS

# Names under which network classes take the three facts of a data set and task.
SPATIAL = ("spatial_dims",)
INPUTS = ("in_channels", "n_input_channels")
OUTPUTS = ("out_channels", "num_classes")


def problems(cfg: dict[str, Any], sound: bool) -> list[str]:
    """What does not fit; `sound`: each node is sound on its own, so that the network can be tried."""
    found = [*_monitors(cfg), *_device(cfg), *_epochs(cfg), *_fused(cfg)]
    if not sound:
        return found
    facts = list(_target(cfg)) or [*_of_tasks(cfg), *_loss(cfg), *_model_facts(cfg), *mixing.problems(cfg)]
    return [*facts, *found, *(_forward(cfg) if not facts else ())]


def _of_tasks(cfg: dict[str, Any]) -> Iterator[str]:
    for kind in (
        *(translation, parts, survival, sequence, detection, modalities, values),
        *(adversarial, annotation, diffusion, autoencoder, learning, pretraining),
    ):
        yield from kind.problems(cfg)


def logged(cfg: dict[str, Any]) -> list[str]:
    """Names of the values that a run logs each epoch."""
    metrics = cfg["metrics"].get("validation")
    own = ["train/adversarial", "train/discriminator"] if "discriminator" in cfg["task"] else []
    own += [*(f"val/{name}" for name in (metrics if isinstance(metrics, dict) else ())), *pretraining.logged(cfg)]
    return ["train/loss", "val/loss", *own]


def _target(cfg: dict[str, Any]) -> Iterator[str]:

    kind, provided = cfg["task"].get("target"), cfg["dataset"].get("provides")
    if kind not in KINDS:
        yield f"task.target: '{kind}'{nearest(str(kind), list(KINDS)) or ';'} allowed: {', '.join(KINDS)}"
        return
    needed = KINDS[kind].provides
    given = provided if isinstance(provided, list) else [provided]
    if needed and needed not in given:
        leaf, others = _leaves(cfg["task"], given)
        move = f"choose task={others[0]}" if others else "choose a dataset that has it, or another task"
        yield f"dataset.provides: '{provided}', but task={leaf} learns from '{needed}'; {move}"


def _leaves(task: dict[str, Any], provided: list[Any]) -> tuple[str, list[str]]:
    """The option of the group that a task is, and those of the same class that learn from what a data set has."""
    known = {name: paths.facts("task", name) for name in paths.options("task")}
    alike = {name: facts.get("target") for name, facts in known.items() if facts.get("_target_") == task["_target_"]}
    own = next((name for name, kind in alike.items() if kind == task["target"]), str(task["target"]))
    return own, [name for name, kind in alike.items() if kind in KINDS and KINDS[str(kind)].provides in provided]


def _loss(cfg: dict[str, Any]) -> Iterator[str]:

    name = str(cfg["loss"]["_target_"])
    if cfg["task"]["target"] in values.OWN:  # says more
        return
    if not KINDS[cfg["task"]["target"]].dense and any(word in name for word in ("Dice", "Tversky")):
        yield f"loss: {name} compares label maps, the task has one target an image; choose cross_entropy, focal or bce"


def _model_facts(cfg: dict[str, Any]) -> Iterator[str]:

    dataset, task, model = cfg["dataset"], cfg["task"], cfg["model"]
    sides = (
        (SPATIAL, dataset["spatial_dims"], "dataset.spatial_dims"),
        (
            INPUTS,
            diffusion.inputs(cfg),
            "dataset.in_channels" + " (degradation.inputs)" * bool(cfg.get("degradation")),
        ),
        (OUTPUTS, task["out_channels"], "task.out_channels"),
    )
    for names, fact, source in sides:
        for name in names:
            if name in model and model[name] != fact:
                yield f"model.{name}: {model[name]}, but {source} is {fact}; leave model.{name} to its leaf (${{{source}}})"
    outputs = KINDS[task["target"]].outputs
    if outputs is not None and task["out_channels"] != (wanted := outputs(len(dataset["classes"]))):
        yield f"task.out_channels: {task['out_channels']}, but dataset.classes asks for {wanted}; leave it to its leaf"
    for key in ("patch_size", "image_size", "spacing"):
        size = dataset.get(key)
        if size is not None and len(size) != dataset["spatial_dims"]:
            yield f"dataset.{key}: {size} has {len(size)} axes, but dataset.spatial_dims is {dataset['spatial_dims']}"


def _monitors(cfg: dict[str, Any]) -> Iterator[str]:
    names = logged(cfg)
    watched = {"monitor": str(cfg["monitor"])}
    for group in ("callbacks", "scheduler"):
        for path, node in _nodes(group, cfg[group]):
            if isinstance(node.get("monitor"), str) and node["monitor"] != cfg["monitor"]:
                watched[f"{path}.monitor"] = node["monitor"]
    for key, name in watched.items():
        if name not in names:
            yield f"{key}: '{name}' is not logged{nearest(name, names) or ';'} logged: {', '.join(names)}"


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


def _epochs(cfg: dict[str, Any]) -> Iterator[str]:
    epochs, every = cfg["trainer"].get("max_epochs"), cfg["trainer"].get("check_val_every_n_epoch")
    if isinstance(epochs, int) and isinstance(every, int) and 0 < epochs < every:
        yield f"trainer.max_epochs: {epochs} ends before the first validation (trainer.check_val_every_n_epoch: {every})"
    if cfg["mode"] == "max" and str(cfg["monitor"]).endswith("loss"):
        yield f"mode: 'max' would keep the checkpoint with the worst {cfg['monitor']}; leave mode out, or give min"


def _fused(cfg: dict[str, Any]) -> Iterator[str]:
    half = str(cfg["trainer"].get("precision")) in ("16-mixed", "16")
    if cfg["optimizer"].get("fused") and half and cfg["trainer"].get("gradient_clip_val"):
        yield (
            "optimizer.fused: true unscales float16 gradients itself, so that trainer.gradient_clip_val cannot clip them; "
            "set one of them to null"
        )


def _forward(cfg: dict[str, Any]) -> Iterator[str]:
    """One forward pass of the training shape on torch's meta device: shapes without memory or arithmetic."""
    import torch

    dataset = cfg["dataset"]
    size = dataset.get("patch_size") or dataset.get("image_size")
    if size is None:
        return
    image = torch.empty((2, *sequence.frames(cfg), diffusion.inputs(cfg), *size), device="meta")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            given = adversarial.given(cfg) or (image,)
            output = _alone(cfg, on_meta(cfg["model"]))(*given, **sequence.given(cfg))
    except Exception as error:
        shown = f"an image of {dataset['in_channels']} x {list(size)} (dataset.patch_size)"
        yield f"model: {cfg['model']['_target_']} cannot take {shown}: {reason(error)}"
        return
    outcomes = (_output, sequence.outcome, values.output, diffusion.output, adversarial.output, autoencoder.output)
    found = [problem for outcome in outcomes for problem in outcome(cfg, output, tuple(size))]
    yield from found or _whole(cfg, image)


def _whole(cfg: dict[str, Any], image: Any) -> Iterator[str]:
    """Whether whole images come to the network in sizes that it takes, tried with odd ones."""
    import torch
    from hydra.utils import instantiate

    node = cfg["inferer"].get("inferer") or cfg["inferer"]  # mirrored inferers hold another
    bare = str(node["_target_"]).endswith("SimpleInferer") and KINDS[cfg["task"]["target"]].dense
    if "divisible_by" not in node and not bare:
        return
    sizes = [size + 1 for size in image.shape[2:]] if bare else [node["divisible_by"] * 2 + 1] * (image.ndim - 2)
    odd = torch.empty((1, image.shape[1], *sizes), device="meta")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            shape = instantiate(node, _convert_="all")(odd, _alone(cfg, on_meta(cfg["model"]).eval())).shape
    except Exception as error:
        if bare:
            yield f"inferer: {node['_target_']} hands images over as they are, {sizes} cannot be taken; use inferer=whole"
            return
        what = f"{node['divisible_by']} does not suit {cfg['model']['_target_']} ({reason(error)})"
        yield f"inferer.divisible_by: {what}; give a multiple of the product of its strides, or inferer=sliding_window"
        return
    if bare and list(shape[2:]) != sizes:
        yield f"inferer: {node['_target_']} hands images over as they are, and {sizes} comes back as {list(shape[2:])}; use inferer=whole"


def _alone(cfg: dict[str, Any], net: Any) -> Any:
    """The network as a function of images alone."""
    return autoencoder.bound(cfg, diffusion.bound(cfg, net))


def _output(cfg: dict[str, Any], output: Any, size: tuple[int, ...]) -> Iterator[str]:

    dense = KINDS[cfg["task"]["target"]].dense
    if dense is None:
        return
    first = output[0] if isinstance(output, list | tuple) else output
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
