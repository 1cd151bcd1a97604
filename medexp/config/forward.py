"""Whether the network takes what training and inference hand it: one forward pass on torch's meta device, without memory or arithmetic."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from medexp.config import adversarial, autoencoder, diffusion, sequence, values
from medexp.config.trial import on_meta, reason
from medexp.targets import KINDS

STRIDES = (2, 4, 8, 16, 32, 64)  # products of strides, one of which suits a network


def problems(cfg: dict[str, Any]) -> Iterator[str]:
    """Of patches, or images of one size, where their size is known."""
    dataset = cfg["dataset"]
    size = dataset.get("patch_size") or dataset.get("image_size")
    if size is None:
        return
    output, error = _outcome(cfg, size)
    if error:
        shown = f"an image of {dataset['in_channels']} x {list(size)} (dataset.patch_size)"
        yield f"model: {cfg['model']['_target_']} cannot take {shown}: {error}"
        return
    yield from _fits(cfg, output, size) or _whole(cfg, _image(cfg, size))


def of_whole_images(cfg: dict[str, Any], sizes: Iterable[Sequence[int]]) -> Iterator[str]:
    """Of the sizes of whole images, which only the data tell where the config has none."""
    dataset = cfg["dataset"]
    if dataset.get("patch_size") or dataset.get("image_size"):
        return
    for size in sizes:
        if not (said := _of_size(cfg, size)):
            continue
        better = next((fit for fit in _smaller(size) if not _of_size(cfg, fit)), None)
        if better is None:  # it is not for their size
            continue
        seen = f"null, but whole images of {'x'.join(map(str, size))} do not go through {cfg['model']['_target_']} ({said})"
        yield f"dataset.patch_size: {seen}; set dataset.patch_size=[{','.join(map(str, better))}]"
        return


def _smaller(size: Sequence[int]) -> Iterator[list[int]]:
    """Sizes that strides divide, the largest first."""
    for stride in STRIDES:
        yield [max(length // stride, 1) * stride for length in size]


def _of_size(cfg: dict[str, Any], size: Sequence[int]) -> str:
    """What is wrong with the network and images of this size, in a line; "" where they fit."""
    told = {**cfg, "dataset": {**cfg["dataset"], "patch_size": list(size)}}
    output, error = _outcome(told, size)
    return error or next(iter(_fits(told, output, size)), "").partition(";")[0]


def _image(cfg: dict[str, Any], size: Sequence[int]) -> Any:
    import torch

    return torch.empty((2, *sequence.frames(cfg), diffusion.inputs(cfg), *size), device="meta")


def _outcome(cfg: dict[str, Any], size: Sequence[int]) -> tuple[Any, str]:
    """What the network makes of a batch, and what it says where it cannot."""
    image = _image(cfg, size)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            given = adversarial.given(cfg) or (image,)
            return _alone(cfg, on_meta(cfg["model"]))(*given, **sequence.given(cfg)), ""
    except Exception as error:
        return None, reason(error)


def _fits(cfg: dict[str, Any], output: Any, size: Sequence[int]) -> list[str]:
    outcomes = (_output, sequence.outcome, values.output, diffusion.output, adversarial.output, autoencoder.output)
    return [problem for outcome in outcomes for problem in outcome(cfg, output, tuple(size))]


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
