"""Layers of a classifier that a map of its classes can be drawn from: found in any network, or named."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from medexp.errors import UserError, nearest

Call = Callable[[Tensor], Tensor]  # scores (1, K) of an image (1, C, *spatial)
Hook = Callable[[nn.Module, Any, Any], Any]
PADDING = "torch.nn.modules.padding"  # what these add is no place of the image


@dataclass(frozen=True)
class Layer:
    """A module's output as a grid: (1, F, *grid), or, of transformers, tokens (1, leading + prod(grid), F)."""

    name: str
    grid: tuple[int, ...]
    tokens: bool = False
    leading: int = 0  # class tokens before those of the grid

    def of(self, output: Tensor) -> Tensor:
        """The output as (1, F, *grid)."""
        if not self.tokens:
            return output
        return output[:, self.leading :].transpose(1, 2).unflatten(2, self.grid)

    def put(self, grid: Tensor, output: Tensor) -> Tensor:
        """The output with this in place of its grid; a copy, which later layers may change in place."""
        if not self.tokens:
            return grid.clone()
        return torch.cat([output[:, : self.leading], grid.flatten(2).transpose(1, 2)], dim=1)


def layers(call: Call, net: nn.Module, image: Tensor, names: Sequence[str] = ()) -> list[Layer]:
    """Layers of `net` to draw maps from, tried on an image (1, C, *spatial).

    names: of modules; none: the last one to finish that everything the scores know of the image goes through. Where there
    is none (a network a modality), the last ones through which it goes together. Raises UserError where a name gives no grid,
    and where no layer does.
    """
    found = _candidates(call, net, image)
    if names:
        known = {layer.name: layer for layer in found}
        for name in names:
            if name not in known:
                what = f"'{name}' gives no grid of features once an image{nearest(name, list(known)) or ';'}"
                raise UserError(f"--layer: {what} some that do: {', '.join(list(known)[:6]) or 'none'}")
        return [known[name] for name in names]
    for layer in found:
        through, around = _reached(call, net, image, [layer])
        if through[0] and not around:
            return [layer]
    chosen: list[Layer] = []
    for layer in found:
        through, around = _reached(call, net, image, [*chosen, layer])
        if all(through):
            chosen.append(layer)
            if not around:
                return chosen
    raise UserError(
        f"--layer: {type(net).__name__} has no layers of a grid that its scores depend on; use another model"
    )


def _candidates(call: Call, net: nn.Module, image: Tensor) -> list[Layer]:
    """Modules that ran once and gave a grid of more than one place, the last to finish first."""
    shapes: dict[str, torch.Size] = {}
    runs: dict[str, int] = {}

    def note(name: str) -> Hook:
        def hook(module: nn.Module, given: Any, output: Any) -> None:
            runs[name] = runs.get(name, 0) + 1
            if isinstance(output, Tensor) and len(output) == 1:
                shapes.pop(name, None)
                shapes[name] = output.shape

        return hook

    modules = {name: module for name, module in net.named_modules() if name and type(module).__module__ != PADDING}
    with _hooked({module: note(name) for name, module in modules.items()}), torch.no_grad():
        call(image)
    axes, found = image.ndim - 2, []
    grids = {math.prod(shape[2:]): tuple(shape[2:]) for shape in shapes.values() if len(shape) == axes + 2}
    for name, shape in shapes.items():
        if runs[name] > 1:
            continue
        if len(shape) == axes + 2 and math.prod(shape[2:]) > 1:
            found.append(Layer(name, tuple(shape[2:])))
        elif len(shape) == 3:
            leading = next((more for more in (0, 1) if shape[1] - more > 1 and shape[1] - more in grids), None)
            if leading is not None:
                found.append(Layer(name, grids[shape[1] - leading], tokens=True, leading=leading))
    return found[::-1]


def _reached(call: Call, net: nn.Module, image: Tensor, through: Sequence[Layer]) -> tuple[list[bool], bool]:
    """Whether the scores depend on the grid of each of these layers, and whether they depend on the image around them."""
    cut: dict[str, Tensor] = {}

    def detach(layer: Layer) -> Hook:
        def hook(module: nn.Module, given: Any, output: Tensor) -> Tensor:
            cut[layer.name] = layer.of(output.detach()).clone().requires_grad_()
            return layer.put(cut[layer.name], output.detach())

        return hook

    image = image.detach().clone().requires_grad_()
    modules = dict(net.named_modules())
    with _hooked({modules[layer.name]: detach(layer) for layer in through}), torch.enable_grad():
        scores = call(image).sum()
    inputs = [*(cut[layer.name] for layer in through), image]
    if not scores.requires_grad:
        return [False] * len(through), False
    *grids, around = torch.autograd.grad(scores, inputs, allow_unused=True)
    return [grid is not None and bool(grid.any()) for grid in grids], around is not None and bool(around.any())


@contextmanager
def _hooked(hooks: dict[nn.Module, Hook]) -> Iterator[None]:
    """Forward hooks, within."""
    handles = [module.register_forward_hook(hook) for module, hook in hooks.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
