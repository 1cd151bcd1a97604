"""Whether a task with a discriminator has one that fits, and a training that it can step by itself."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

from medexp.config import cycles, translation
from medexp.config.targets import locate, signature
from medexp.config.trial import on_meta, reason
from medexp.errors import nearest

GAN = "medexp.tasks.gan.Gan"
SECOND = "task.discriminator_optimizer"


def problems(cfg: dict[str, Any]) -> Iterator[str]:
    """Of a config whose nodes are sound."""
    task, trainer = cfg["task"], cfg["trainer"]
    loss, judges = str(cfg["loss"]["_target_"]), task["_target_"] == GAN
    if judges != ("adversarial" in loss.lower()):
        what = (
            "which task=gan has; choose hinge or wasserstein" if judges else "which this task has not; choose another"
        )
        yield f"loss: {loss} {'judges no scores of a discriminator' if judges else 'judges the scores of a discriminator'}, {what}"
    yield from cycles.problems(cfg)
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
    for key in ("weight", "gradient_penalty", "cycle", "identity", "pool"):
        if task.get(key, 0.0) < 0:
            yield f"task.{key}: {task[key]} is negative; give 0 or more"
    if judges:
        yield from _generation(cfg)
    yield from _second(cfg)
    yield from _sees(cfg, "discriminator", channels(cfg)) or list(_forward(cfg, "discriminator", channels(cfg)))
    if task["_target_"] == cycles.TASK:
        back, count = "inverse_discriminator", translation.inputs(cfg)
        yield from _sees(cfg, back, count) or list(_forward(cfg, back, count))


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


def _generation(cfg: dict[str, Any]) -> Iterator[str]:
    """Noise, classes and images of a task that makes images from nothing else."""
    task, dataset, model = cfg["task"], cfg["dataset"], cfg["model"]
    by_class = task["target"] == "generation_by_class"
    wanted = len(dataset["classes"]) if by_class else None
    if task.get("classes") != wanted:
        yield f"task.classes: {task.get('classes')}, but {wanted} are needed; leave it to its leaf (task=gan{'_by_class' * by_class})"
    known = signature(locate(str(model["_target_"]))).hints
    for key, fact in (("latent", task.get("latent", 64)), ("classes", wanted)):
        if key in known and model.get(key, fact) != fact:
            yield f"model.{key}: {model[key]}, but task.{key} is {fact}; leave it to its leaf (${{task.{key}}})"
    if "Wasserstein" in cfg["loss"]["_target_"] and not task.get("gradient_penalty"):
        yield "task.gradient_penalty: 0, but loss=wasserstein needs one; set it to 10"
    if task.get("latent", 64) < 1:
        yield f"task.latent: {task['latent']} leaves no noise to tell one image from another; 64 is usual"
    if task.get("critic_steps", 1) < 1:
        yield f"task.critic_steps: {task['critic_steps']} is below 1; 1 is usual, 5 for Wasserstein"
    if not dataset.get("patch_size") and not dataset.get("image_size"):
        yield "dataset.image_size: samples have one size; give dataset.image_size or dataset.patch_size"
    for key in ("windows", "sequence", "plane"):
        if dataset.get(key):
            yield f"dataset.{key}: images that it makes have no way back to files; leave it out to generate images"


def given(cfg: dict[str, Any]) -> tuple[Any, ...] | None:
    """What the network of a batch of two is given where that is no image, on torch's meta device."""
    import torch

    task = cfg["task"]
    if task["_target_"] != GAN:
        return None
    noise = torch.empty((2, task.get("latent", 64)), device="meta")
    return (noise,) if task.get("classes") is None else (noise, torch.zeros(2, dtype=torch.long, device="meta"))


def output(cfg: dict[str, Any], found: Any, size: tuple[int, ...]) -> Iterator[str]:
    """What is wrong with what a network makes of noise, for images of this size."""
    if cfg["task"]["_target_"] != GAN:
        return
    seen, wanted = list(found.shape[1:]), [cfg["dataset"]["in_channels"], *size]
    if seen != wanted:
        yield f"model: {cfg['model']['_target_']} makes {seen} of noise, but {wanted} is needed; mend model.size or its channels"


def channels(cfg: dict[str, Any]) -> int:
    """That the discriminator is shown."""
    return translation.outputs(cfg) + _beside(cfg)[0]


def _beside(cfg: dict[str, Any]) -> tuple[int, str]:
    """Channels that stand beside an image before the discriminator, and what they are."""
    task = cfg["task"]
    if task["_target_"] == GAN:
        return int(task.get("classes") or 0), "of planes of its class"
    return translation.inputs(cfg) * bool(task.get("condition")), "of the input (task.condition)"


def _sees(cfg: dict[str, Any], key: str, wanted: int) -> list[str]:
    """What is wrong with the arguments of a discriminator that is shown so many channels."""
    node, found = cfg["task"][key], []
    if node.get("in_channels", wanted) != wanted:
        count, what = _beside(cfg)
        sees = f"{wanted - count} of the image" + f" and {count} {what}" * bool(count)
        found.append(f"task.{key}.in_channels: {node['in_channels']}, but it sees {sees}; set it to {wanted}")
    axes = cfg["dataset"]["spatial_dims"]
    if node.get("spatial_dims", axes) != axes:
        found.append(f"task.{key}.spatial_dims: {node['spatial_dims']}, but dataset.spatial_dims is {axes}")
    return found


def _forward(cfg: dict[str, Any], key: str, shown: int) -> Iterator[str]:
    """A discriminator on the training shape, on torch's meta device."""
    import torch

    size = cfg["dataset"].get("patch_size") or cfg["dataset"].get("image_size")
    if size is None:
        return
    node = cfg["task"][key]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            net = on_meta(node)
            net(torch.empty((2, shown, *size), device="meta"))
    except Exception as error:  # whatever the network says of the shape, its first line is the reason
        yield (
            f"task.{key}: {node['_target_']} cannot take {shown} x {list(size)}: {reason(error)}; give it fewer layers "
            "(num_layers_d), or a larger dataset.patch_size"
        )
        return
    if cfg["task"].get("gradient_penalty") and any("BatchNorm" in type(one).__name__ for one in net.modules()):
        yield (
            f"task.{key}.norm: batch norm mixes images, whose gradients task.gradient_penalty looks at one by one; "
            'choose instance, or "" for none'
        )
