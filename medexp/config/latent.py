"""Diffusion in the latent of an autoencoder: a run's folder becomes the network that the config holds from then on."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from medexp.config import compose
from medexp.errors import UserError

TARGET = "medexp.models.latents.Latents"
AUTOENCODERS = "monai.networks.nets.AutoencoderKL"
SAME = ("spatial_dims", "in_channels", "normalize", "windows", "orientation", "spacing")  # of both data sets


def expand(cfg: dict[str, Any]) -> None:
    """Puts the network of the run that task.autoencoder names in its place. Raises UserError where it is no fitting run."""
    run = cfg["task"].get("autoencoder")
    if not isinstance(run, str):
        return
    folder = Path(run).expanduser().absolute()
    own = compose.load(folder / "config.yaml")
    net = own["model"]
    if net["_target_"] != AUTOENCODERS:
        raise UserError(f"task.autoencoder: {run} is a run of {net['_target_']}; give one of model=autoencoder_kl")
    for key in SAME:
        one, other = own["dataset"].get(key), cfg["dataset"].get(key)
        if one != other:
            raise UserError(
                f"task.autoencoder: {run} has seen images of dataset.{key}={one}, not {other}; give both the same"
            )
    weights = folder / "checkpoints" / "best.ckpt"
    if not weights.is_file():
        raise UserError(
            f"task.autoencoder: {weights} does not exist; train it first: medexp train task=autoencoder ..."
        )
    if not zipfile.is_zipfile(weights):  # as they all are: said before any data is read
        raise UserError(
            f"task.autoencoder: {weights} is cut off, or no checkpoint; give another run, or train it again"
        )
    cfg["task"]["autoencoder"] = {"_target_": TARGET, "net": net, "weights": str(weights)}


def problems(cfg: dict[str, Any]) -> Iterator[str]:
    """Of a config whose nodes are sound."""
    node = cfg["task"].get("autoencoder")
    if not isinstance(node, dict):
        return
    net, dataset = node["net"], cfg["dataset"]
    if cfg["task"]["out_channels"] != net["latent_channels"]:
        seen = f"{cfg['task']['out_channels']}, but the latent of the autoencoder has {net['latent_channels']} channels"
        yield f"task.out_channels: {seen}; set it to that"
    factor = 2 ** (len(net["channels"]) - 1 + len(cfg["model"].get("channels") or [0]) - 1)
    size = dataset.get("patch_size") or dataset.get("image_size") or []
    if any(side % factor for side in size):
        yield f"dataset.image_size: {list(size)}: autoencoder and network halve it down to a {factor}th; give multiples of {factor}"
