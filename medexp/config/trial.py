"""Networks of a config tried on torch's meta device: shapes without memory or arithmetic."""

from __future__ import annotations

from typing import Any


def on_meta(node: dict[str, Any]) -> Any:
    """The network without memory; one that computes with values while it is built (Swin UNETR) is built first."""
    import torch
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    try:
        with torch.device("meta"):
            return instantiate(node, _convert_="all")
    except InstantiationException as error:
        if "meta tensor" not in str(error.__cause__):
            raise
    with torch.random.fork_rng(devices=[]):
        return instantiate(node, _convert_="all").to("meta")


def reason(error: Exception) -> str:
    """Whatever a network says of a shape: its first line."""
    return (str(error.__cause__ or error).strip().splitlines() or [type(error).__name__])[0]
