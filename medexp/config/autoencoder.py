"""Whether what learns to give images back fits together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from medexp.config import translation

TASK = "medexp.tasks.autoencoder.Autoencoder"


def problems(cfg: dict[str, Any]) -> Iterator[str]:
    """Of a config whose nodes are sound."""
    task, dataset, loss = cfg["task"], cfg["dataset"], str(cfg["loss"]["_target_"])
    if task["_target_"] != TASK:
        return
    if any(word in loss for word in translation.OF_CLASSES):
        yield f"loss: {loss} compares classes, the task gives images; choose mae, mse, smooth_l1 or structural"
    channels = dataset["in_channels"]
    if task["out_channels"] != channels:
        yield f"task.out_channels: {task['out_channels']}, but dataset.in_channels is {channels}; leave it to its leaf"
    if task.get("kl", 0) < 0:
        yield f"task.kl: {task['kl']} is negative; give 0 or more"
    yield from _sizes(cfg)


def _sizes(cfg: dict[str, Any]) -> Iterator[str]:
    dataset, shape = cfg["dataset"], cfg["model"].get("in_shape")
    size = dataset.get("image_size")
    if shape is not None and (size is None or list(shape) != [dataset["in_channels"], *size]):
        seen = f"{list(shape)}, but this network takes whole images of one size"
        yield f"model.in_shape: {seen}; give dataset.image_size, set dataset.patch_size=null, and leave in_shape to its leaf"
    simple = str(cfg["inferer"]["_target_"]).endswith("SimpleInferer")
    if shape is not None and not simple:
        yield f"inferer: {cfg['inferer']['_target_']} cuts or pads images, this network takes them whole; choose inferer=simple"
    if shape is None and simple and size is None:
        yield "inferer: SimpleInferer hands images over in any size, which strides may not divide; choose inferer=whole_by_8"


def output(cfg: dict[str, Any], found: Any, size: tuple[int, ...]) -> Iterator[str]:
    """What is wrong with what a network gives back of images of this size."""
    if cfg["task"]["_target_"] != TASK:
        return
    seen, wanted = list(found.shape[1:]), [cfg["task"]["out_channels"], *size]
    if seen != wanted:
        yield f"model: {cfg['model']['_target_']} gives back {seen}, but {wanted} went in; mend its channels and strides"


def bound(cfg: dict[str, Any], net: Callable[..., Any]) -> Callable[..., Any]:
    """The network as one that gives a reconstruction alone, to try it."""
    if cfg["task"]["_target_"] != TASK:
        return net

    def made(image: Any) -> Any:
        found = net(image)
        return found[0] if isinstance(found, tuple) else found

    return made
