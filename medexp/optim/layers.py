"""A network's layers from the image to its output, by name: what freezing and layer-wise rates count in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from medexp.errors import UserError
from medexp.optim.groups import NORMS, parameter_groups

CONTAINERS = (nn.Sequential, nn.ModuleList)
UPSAMPLING = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Upsample, nn.PixelShuffle)
DECODING = re.compile(r"(^|\.)(up|dec)")  # names of the blocks of a decoder: up_layers, upsamples, decoder1


@dataclass
class Layer:
    """A block of a network. name: of its first module. modules: all that is in it, norms after it among them."""

    name: str
    modules: list[nn.Module] = field(default_factory=list)
    parameters: list[nn.Parameter] = field(default_factory=list)


def layers(net: nn.Module) -> list[Layer]:
    """Blocks of the network in the order in which its author made them, which for the networks of MONAI is the order in
    which an image meets them: encoder, bottom, decoder, head.

    Plain lists of modules, and modules around a single other one, are opened up; any other module is a block (a residual
    block, a stage of a transformer). A norm that stands alone belongs to the block before it. A parameter that stands in
    two places belongs to the first. Heads beside each other (deep supervision) are one layer. Raises UserError for a
    network without parameters.
    """
    found: list[Layer] = []
    seen: set[int] = set()
    for name, module, whole in _blocks("", net, alone=True):
        own = [p for p in module.parameters(recurse=whole) if id(p) not in seen]
        if not own:
            continue
        seen |= {id(parameter) for parameter in own}
        if not (found and whole and _only_norms(module)):
            found.append(Layer(name))
        found[-1].parameters += own
        found[-1].modules += list(module.modules()) if whole else []
    if not found:
        raise UserError(f"model: {type(net).__name__} has no parameters to learn")
    while len(found) > 1 and (outputs := _pointwise(found[-1])) and outputs == _pointwise(found[-2]):
        head = found.pop()
        found[-1].parameters += head.parameters
        found[-1].modules += head.modules
    return found


def encoder(found: list[Layer]) -> int:
    """How many of the layers, from the first, are the encoder: those before the first that enlarges its input (by its
    modules or its name), or, where none does, all but the last."""
    decodes = [
        bool(DECODING.search(layer.name)) or any(isinstance(one, UPSAMPLING) for one in layer.modules)
        for layer in found
    ]
    return decodes.index(True) if True in decodes else len(found) - 1


def rates(net: nn.Module, rate: float, decay: float) -> dict[int, float]:
    """Learning rates by the id of each parameter: `rate` for the last layer, and `decay` times that of the layer after it
    for each before (Howard and Ruder 2018, arXiv:1801.06146; Clark et al. 2020, arXiv:2003.10555)."""
    found = layers(net)
    return {
        id(parameter): rate * decay ** (len(found) - 1 - depth)
        for depth, layer in enumerate(found)
        for parameter in layer.parameters
    }


def groups_by_layer(
    module: nn.Module, net: nn.Module, optimizer: Mapping[str, Any], layer_decay: float
) -> list[dict[str, Any]]:
    """Parameter groups of a module around a network, by weight decay and, where layers differ in it, by learning rate.

    optimizer: its arguments, `lr` and `weight_decay` among them. layer_decay: see `rates`; 1: one rate for all; what is
    outside of the network learns at the full rate. Raises UserError.
    """
    if not 0 < layer_decay <= 1:
        raise UserError(f"task.layer_decay: {layer_decay} is not above 0 and at most 1; 0.7 is usual, 1 is none")
    decay, rate = float(optimizer.get("weight_decay", 0.0)), optimizer.get("lr")
    if layer_decay == 1:
        return parameter_groups(module, decay)
    if rate is None:
        raise UserError("task.layer_decay: is a share of optimizer.lr, which is not given; give it")
    own = rates(net, float(rate), layer_decay)
    return parameter_groups(module, decay, {id(p): own.get(id(p), float(rate)) for p in module.parameters()})


def _blocks(name: str, module: nn.Module, alone: bool) -> list[tuple[str, nn.Module, bool]]:
    """Modules in order, each whole or with the parameters of its own alone. alone: nothing stands beside this one."""
    children = [(key, child) for key, child in module.named_children() if _has_parameters(child)]
    own = any(True for _ in module.parameters(recurse=False))
    opened = alone or (not own and (type(module) in CONTAINERS or len(children) == 1))
    if not children or not opened:
        return [(name or type(module).__name__, module, True)]
    below = [
        block
        for key, child in children
        for block in _blocks(f"{name}.{key}" if name else key, child, alone and len(children) == 1)
    ]
    return [(name or type(module).__name__, module, False), *below] if own else below


def _pointwise(layer: Layer) -> int | None:
    """Outputs of a layer that is one product with a matrix, at each voxel alike; None for any other."""
    weights = [parameter for parameter in layer.parameters if parameter.ndim > 1]
    if len(weights) != 1 or weights[0][0].numel() != weights[0].shape[1]:
        return None
    return int(weights[0].shape[0])


def _has_parameters(module: nn.Module) -> bool:
    return any(True for _ in module.parameters())


def _only_norms(module: nn.Module) -> bool:
    owners = [one for one in module.modules() if any(True for _ in one.parameters(recurse=False))]
    return all(isinstance(one, NORMS) for one in owners)
