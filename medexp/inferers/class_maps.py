"""Where in an image a classifier sees a class: class activation maps, by MONAI, of any network with a value an image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, get_args

import torch
from monai.visualize import CAM, GradCAM, GradCAMpp
from torch import Tensor, nn

from medexp.errors import UserError, nearest
from medexp.inferers.map_layers import Call, Layer

Method = Literal["grad_cam", "grad_cam_pp", "cam", "attention"]
METHODS: tuple[str, ...] = get_args(Method)
CLOSE = 1e-3  # relative difference of scores that are the same


class ClassMaps:
    """Maps of the classes of a classifier.

    method: "grad_cam" (Selvaraju 2017, arXiv:1610.02391), "grad_cam_pp" (Chattopadhyay 2018, arXiv:1710.11063), "cam" (Zhou
    2016, arXiv:1512.04150), for networks that end in the mean of a grid and one linear layer; "attention", for networks of
    bags (medexp.models.multiple_instance): how much each instance counts, the same for all classes. layers: see `layers`,
    attention has none; maps of several are added up. Raises UserError for another method.
    """

    def __init__(self, method: str, layers: Sequence[Layer]) -> None:
        if method not in METHODS:
            raise UserError(
                f"--method: '{method}'{nearest(method, list(METHODS)) or ';'} allowed: {', '.join(METHODS)}"
            )
        self.method, self.layers = method, list(layers)

    def __call__(self, call: Call, net: nn.Module, image: Tensor, output: int) -> Tensor:
        """The map (*spatial) of an image (1, C, *spatial) for one of the network's outputs, from 0 to 1; all 0 where the class is
        seen nowhere. `call` gives the scores of an image, through `net`. Raises UserError where a method does not suit it."""
        total = torch.zeros(image.shape[2:], device=image.device)
        if self.method == "attention":
            with torch.no_grad():
                total = bags(net).spread(bags(net).attention(image), image.shape[2:])[0].float()
        for layer in self.layers:
            total += self._of_layer(call, net, image, output, layer)
        low, high = total.min(), total.max()
        return (total - low) / (high - low) if high > low else torch.zeros_like(total)

    def _of_layer(self, call: Call, net: nn.Module, image: Tensor, output: int, layer: Layer) -> Tensor:
        with _seen(call, net, layer) as seen, torch.enable_grad():
            options: dict[str, Any] = {"target_layers": "grid", "postprocessing": _as_it_is}
            image = image.detach().clone().requires_grad_()
            if self.method == "cam":
                last = _last_linear(seen, net, image)
                found = CAM(seen, fc_layers=lambda model: last, **options)(image, class_idx=[output])
            else:
                kind = GradCAM if self.method == "grad_cam" else GradCAMpp
                found = kind(seen, **options)(image, class_idx=output)
        return found[0, 0].detach().float()


def bags(net: nn.Module) -> Any:
    """The network as one of bags. Raises UserError where it is none."""
    if not (hasattr(net, "spread") and hasattr(net, "attention")):
        raise UserError(
            f"--method: attention, but {type(net).__name__} is none of bags; choose grad_cam, or model=mil_attention"
        )
    return net


class _Seen(nn.Module):
    """A network whose layer's output goes through `grid`, where MONAI's hooks meet it as (1, F, *grid)."""

    def __init__(self, call: Call) -> None:
        super().__init__()
        self.grid, self.call = nn.Identity(), call
        self.eval()

    def forward(self, image: Tensor) -> Tensor:
        return self.call(image)


@contextmanager
def _seen(call: Call, net: nn.Module, layer: Layer) -> Iterator[_Seen]:
    seen = _Seen(call)

    def through(module: nn.Module, given: Any, output: Tensor) -> Tensor:
        return layer.put(seen.grid(layer.of(output)), output)

    handle = net.get_submodule(layer.name).register_forward_hook(through)
    try:
        yield seen
    finally:
        handle.remove()


def _as_it_is(values: Tensor) -> Tensor:
    return values


def _last_linear(seen: _Seen, net: nn.Module, image: Tensor) -> nn.Linear:
    """The layer that makes the scores of the mean of the grid. Raises UserError where there is none."""
    grids: list[Tensor] = []
    handle = seen.grid.register_forward_hook(lambda module, given, output: grids.append(output))
    try:
        scores = seen(image)
    finally:
        handle.remove()
    mean = grids[0].flatten(2).mean(dim=2)
    for module in net.modules():
        fits = isinstance(module, nn.Linear) and module.in_features == mean.shape[1]
        if fits and module(mean).shape == scores.shape and torch.allclose(module(mean), scores, rtol=CLOSE, atol=CLOSE):
            assert isinstance(module, nn.Linear)
            return module
    what = f"{type(net).__name__} does not end in the mean of this layer and one linear layer"
    raise UserError(f"--method: cam, but {what}; choose grad_cam, or a model such as resnet18")
