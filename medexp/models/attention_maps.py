"""Where a network looks: the attention that it computes in a forward pass, as maps over the image."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from monai.networks.blocks.selfattention import SABlock
from monai.networks.nets.attentionunet import AttentionBlock
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from medexp.models.cbam import SpatialAttention

Maps = dict[str, Tensor]


def attention_maps(net: nn.Module, image: Tensor, forward: Callable[[Tensor], Any] | None = None) -> Maps:
    """Maps of one forward pass of `image` (B, C, *spatial), by the name of the module that attends, in the order of their use.

    Gates of an attention U-Net and spatial maps of CBAM: (B, 1, *spatial of the features), weights in 0..1. Self-attention:
    (B, heads, *grid of tokens), what the class token attends to, or, without one, what the tokens attend to on average;
    each head sums to 1 (less what the class token gives to itself). Empty where the network has none of these.

    forward: what calls the network (a task's `network(batch)`, an inferer); default the network itself. The network is
    left in the mode that it was in; no gradients are kept.
    """
    was_training = net.training
    net.eval()
    try:
        with torch.no_grad(), collected(net, tuple(image.shape[2:])) as maps:
            (forward or net)(image)
    finally:
        net.train(was_training)
    return maps


@contextmanager
def collected(net: nn.Module, spatial: tuple[int, ...]) -> Iterator[Maps]:
    """Within: each forward pass of the network, on images of this size, leaves its maps (of the last pass where several)."""
    maps: Maps = {}
    handles: list[RemovableHandle] = []
    saving: list[tuple[SABlock, bool, bool]] = []

    def keep(name: str, read: Callable[[Any], Tensor]) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            maps[name] = read(output).detach()

        return hook

    try:
        for name, module in net.named_modules():
            if isinstance(module, SpatialAttention):
                handles.append(module.register_forward_hook(keep(name, lambda weights: weights)))
            elif isinstance(module, AttentionBlock):
                handles.append(module.psi.register_forward_hook(keep(name, lambda weights: weights)))
            elif isinstance(module, SABlock):
                saving.append((module, module.save_attn, module.use_flash_attention))
                module.save_attn, module.use_flash_attention = True, False
                reader = _tokens(module, spatial)
                handles.append(module.register_forward_hook(keep(name, reader)))
        yield maps
    finally:
        for handle in handles:
            handle.remove()
        for module, saved, flash in saving:
            module.save_attn, module.use_flash_attention = saved, flash
            module.att_mat = torch.Tensor()


def _tokens(module: SABlock, spatial: tuple[int, ...]) -> Callable[[Any], Tensor]:
    def read(_: Any) -> Tensor:
        return over_tokens(module.att_mat, spatial)

    return read


def over_tokens(attention: Tensor, spatial: tuple[int, ...]) -> Tensor:
    """(B, heads, N, N), a row a token that attends -> (B, heads, *grid) of patches with equal edges; a class token comes
    first where N is one more than the patches."""
    count = attention.shape[-1]
    for patches in (count, count - 1):
        edge = round((math.prod(spatial) / max(patches, 1)) ** (1 / len(spatial)))
        grid = [size // edge for size in spatial]
        if math.prod(grid) == patches and all(size % edge == 0 for size in spatial):
            seen = attention.mean(2) if patches == count else attention[:, :, 0, 1:]
            return seen.unflatten(-1, grid)
    return attention.mean(2)  # of no regular grid: (B, heads, N)
