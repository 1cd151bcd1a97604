"""Whether the chosen parts fit each other: dimensions, channels, targets, what is logged and what is monitored."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from medexp.config import (
    adversarial,
    amounts,
    annotation,
    autoencoder,
    detection,
    diffusion,
    forward,
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
    facts = [*_target(cfg), *amounts.problems(cfg)] or [
        *_of_tasks(cfg),
        *_loss(cfg),
        *_model_facts(cfg),
        *mixing.problems(cfg),
    ]
    return [*facts, *found, *(forward.problems(cfg) if not facts else ())]


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
    if task.get("spatial_dims", dataset["spatial_dims"]) != dataset["spatial_dims"]:
        seen = f"{task['spatial_dims']}, but dataset.spatial_dims is {dataset['spatial_dims']}"
        yield f"task.spatial_dims: {seen}; leave task.spatial_dims to its leaf (${{dataset.spatial_dims}})"
    outputs = KINDS[task["target"]].outputs
    if outputs is not None and task["out_channels"] != (wanted := outputs(len(dataset["classes"]))):
        yield f"task.out_channels: {task['out_channels']}, but dataset.classes asks for {wanted}; leave it to its leaf"
    for key in ("patch_size", "image_size", "spacing"):
        size = dataset.get(key)
        if size is not None and len(size) != dataset["spatial_dims"]:
            axes = dataset["spatial_dims"]
            fitting = ",".join(map(str, [*size, *[size[-1]] * axes][:axes])) if size else "..."
            move = f"give {axes} numbers (dataset.{key}=[{fitting}])" + f", or dataset.spatial_dims={len(size)}" * (
                len(size) in (2, 3)
            )
            yield f"dataset.{key}: {size} has {len(size)} axes, but dataset.spatial_dims is {axes}; {move}"


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
        yield (
            f"trainer.max_epochs: {epochs} ends before the first validation (trainer.check_val_every_n_epoch: {every}); give "
            "trainer.check_val_every_n_epoch=1"
        )
    if cfg["mode"] == "max" and str(cfg["monitor"]).endswith("loss"):
        yield f"mode: 'max' would keep the checkpoint with the worst {cfg['monitor']}; leave mode out, or give min"


def _fused(cfg: dict[str, Any]) -> Iterator[str]:
    half = str(cfg["trainer"].get("precision")) in ("16-mixed", "16")
    if cfg["optimizer"].get("fused") and half and cfg["trainer"].get("gradient_clip_val"):
        yield (
            "optimizer.fused: true unscales float16 gradients itself, so that trainer.gradient_clip_val cannot clip them; "
            "set one of them to null"
        )
