"""Whether what makes images from noise fits together: task, network, data set."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

from medexp.config import latent, translation
from medexp.config.targets import locate

OF_NOISE = ("MeanSquared", "MeanAbsolute", "SmoothL1", "MSE", "L1")  # words in the names of losses

UNCONDITIONAL, RESTORATION = (
    f"medexp.tasks.{name}" for name in ("diffusion.Diffusion", "diffusion_restoration.DiffusionRestoration")
)


def problems(cfg: dict[str, Any]) -> Iterator[str]:
    """Of a config whose nodes are sound."""
    task, net = cfg["task"], str(cfg["model"]["_target_"])
    tells = _told_levels(net)
    if task["_target_"] not in (UNCONDITIONAL, RESTORATION):
        if tells:
            yield f"model: {net} is told a level of noise, which only diffusion has; choose task=diffusion, or another model"
        return
    if not tells:
        yield f"model: {net} takes no `timesteps`, the level of the noise; choose model=diffusion_unet"
    if not any(word in str(cfg["loss"]["_target_"]) for word in OF_NOISE):
        yield f"loss: {cfg['loss']['_target_']} compares no noise; choose mse, mae or smooth_l1"
    steps, levels = task.get("steps", 1), task.get("timesteps", 1000)
    if levels < 1:
        yield f"task.timesteps: {levels}; give 1 level of noise or more, 1000 are usual"
    elif task.get("sampler", "ddim") == "ddim" and (steps < 1 or levels % steps):
        yield f"task.steps: {steps} does not divide task.timesteps ({levels}); DDIM walks in steps of one length, e.g. 50"
    if task.get("samples", 1) < 1:
        yield f"task.samples: {task['samples']}; give 1 or more"
    yield from _classes(cfg)
    if task["_target_"] == UNCONDITIONAL:
        yield from _images(cfg)


def _classes(cfg: dict[str, Any]) -> Iterator[str]:
    task, count = cfg["task"], len(cfg["dataset"]["classes"])
    by_class = task["target"] == "generation_by_class"
    wanted = count + 1 if by_class else None
    if task.get("classes") != wanted:
        yield f"task.classes: {task.get('classes')}, but {wanted} are needed; leave it to its leaf (task=diffusion{'_by_class' * by_class})"
    embeds = cfg["model"].get("num_class_embeds")
    if embeds != wanted and "num_class_embeds" in cfg["model"]:
        yield f"model.num_class_embeds: {embeds}, but task.classes is {wanted}; leave it to its leaf (${{task.classes}})"
    if not by_class and task.get("guidance", 1.0) != 1:
        yield f"task.guidance: {task['guidance']}, but the task has no classes; choose task=diffusion_by_class"
    if task.get("guidance", 1.0) < 0:
        yield f"task.guidance: {task['guidance']} leads away from the class; give 0 or more, 1 is the class alone"
    if not 0 <= task.get("drop_class", 0.1) < 1:
        yield f"task.drop_class: {task['drop_class']} is no share from 0 to below 1; 0.1 is usual"
    if by_class and task.get("guidance", 1.0) != 1 and not task.get("drop_class", 0.1):
        yield "task.guidance: is towards the class from none, which task.drop_class=0 never learns; give 0.1"


def _images(cfg: dict[str, Any]) -> Iterator[str]:
    dataset = cfg["dataset"]
    yield from latent.problems(cfg)
    if not cfg["task"].get("autoencoder") and cfg["task"]["out_channels"] != dataset["in_channels"]:
        yield f"task.out_channels: {cfg['task']['out_channels']}, but dataset.in_channels is {dataset['in_channels']}; leave it to its leaf"
    for key in ("windows", "sequence", "plane"):
        if dataset.get(key):
            yield f"dataset.{key}: images that it makes have no way back to files; leave it out to generate images"
    if not dataset.get("patch_size") and not dataset.get("image_size"):
        yield "dataset.image_size: samples have one size; give dataset.image_size or dataset.patch_size"


def inputs(cfg: dict[str, Any]) -> int:
    """Channels that the network is given: beside the degraded image, the noisy one."""
    if isinstance(cfg["task"].get("autoencoder"), dict):
        return int(cfg["task"]["out_channels"])
    beside = translation.outputs(cfg) if cfg["task"]["_target_"] == RESTORATION else 0
    return translation.inputs(cfg) + beside


def bound(cfg: dict[str, Any], net: Callable[..., Any]) -> Callable[..., Any]:
    """The network of an image alone, to try it: it is told some level of noise, and a class, where it has them."""
    import torch

    if cfg["task"]["_target_"] not in (UNCONDITIONAL, RESTORATION):
        return net

    def told(image: Any) -> Any:
        levels = torch.zeros(len(image), dtype=torch.long, device=image.device)
        by_class = {} if cfg["task"].get("classes") is None else {"class_labels": levels}
        return net(image, timesteps=levels, **by_class)

    return told


def output(cfg: dict[str, Any], found: Any, size: tuple[int, ...]) -> Iterator[str]:
    """What is wrong with what a network makes of images of this size."""
    if cfg["task"]["_target_"] != UNCONDITIONAL:
        return
    seen, wanted = list(found.shape[1:]), [cfg["task"]["out_channels"], *size]
    if seen != wanted:
        yield f"model: {cfg['model']['_target_']} returns {seen}, but {wanted} is needed; mend its channels, or the size of the images"


def _told_levels(net: str) -> bool:
    forward = getattr(locate(net), "forward", None)
    return forward is not None and "timesteps" in inspect.signature(forward).parameters
