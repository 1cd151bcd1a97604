"""What a network has made of an image before it decides: pooled features of any classifier or encoder-decoder."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, NoReturn

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medexp.errors import UserError

SIZE = 64  # voxels an axis of the trial image, whose values are never computed: a multiple of what most networks need
WINDOWS = 8  # parts of a large image that go through the network together


class _Reached(Exception):
    """The features are there: the rest of the network, which would only decide, is not computed."""

    def __init__(self, features: Tensor) -> None:
        self.features = features


class Encoder:
    """`Encoder(net, ...)(image)`: (B, C, *spatial) to features (B, width), float32.

    Of a network with scores an image they are what its last layer is given; of one with scores a voxel (an
    encoder-decoder) its coarsest output, of these the one with most channels, as a mean over its voxels. What of the network
    comes after is neither computed nor does it learn.

    in_channels, size: of the images that it will see (voxels an axis), for a trial on torch's meta device. layer: name of
    the module, where it is known; None: it is found. Raises UserError where the network takes no such image.

    No module itself: it holds a network that belongs to somebody else.
    """

    def __init__(self, net: nn.Module, in_channels: int, size: Sequence[int], layer: str | None = None) -> None:
        self.net, self.in_channels, self.size = net, in_channels, tuple(size)
        trial = copy.deepcopy(net).to("meta").train()
        self.layer, self.dense = (
            _place(trial, self._trial()) if layer is None else (layer, _dense(trial, self._trial()))
        )
        self.width, self._learns = self._tried(trial)

    def __call__(self, image: Tensor) -> Tensor:
        return self._pooled(self.net, image).float()

    def of_whole(self, image: Tensor, patch_size: Sequence[int] | None = None) -> Tensor:
        """Features of images (B, C, *spatial) of any size: the mean over evenly spaced windows of `patch_size` that cover
        them. None: of the images as they are."""
        if patch_size is None or tuple(image.shape[2:]) == tuple(patch_size):
            return self(image)
        parts = list(windows(image, patch_size))
        found = [
            self(torch.cat(parts[start : start + WINDOWS])).view(-1, len(image), self.width).sum(dim=0)
            for start in range(0, len(parts), WINDOWS)
        ]
        return torch.stack(found).sum(dim=0) / len(parts)

    def of(self, other: nn.Module) -> Encoder:
        """The same of a copy of the network."""
        made = copy.copy(self)
        made.net = other
        return made

    def unlearnt(self) -> list[str]:
        """Names of the tensors of the network that have no part in the features."""
        return [name for name in self.net.state_dict() if name not in self._learns]

    def freeze_rest(self) -> None:
        """What has no part in the features does not learn: DDP would wait for its gradients."""
        for name, parameter in self.net.named_parameters(remove_duplicate=False):
            if name not in self._learns:
                parameter.requires_grad_(False)

    def _pooled(self, net: nn.Module, image: Tensor) -> Tensor:
        module = net.get_submodule(self.layer)
        hook = module.register_forward_hook(_gave) if self.dense else module.register_forward_pre_hook(_given)
        try:
            net(image)
        except _Reached as reached:
            found = reached.features
        else:
            raise RuntimeError(f"{type(net).__name__} went past {self.layer} without a word: was it compiled?")
        finally:
            hook.remove()
        return found.flatten(2).mean(dim=2) if found.ndim > 2 else found

    def _trial(self) -> Tensor:
        return torch.empty((2, self.in_channels, *self.size), device="meta")

    def _tried(self, trial: nn.Module) -> tuple[int, set[str]]:
        """Width of the features, and the names of the tensors that have a part in them."""
        called: set[str] = set()
        for name, module in trial.named_modules():
            module.register_forward_pre_hook(lambda *_, name=name: called.add(name))
        found = self._pooled(trial, self._trial())
        found.sum().backward()
        named = dict(trial.named_parameters(remove_duplicate=False))
        learns = {name for name, parameter in named.items() if parameter.grad is not None}
        learns |= {
            name for name in trial.state_dict() if name not in named and name.rpartition(".")[0] in called
        }  # running statistics
        return found.shape[1], learns


def windows(image: Tensor, size: Sequence[int]) -> Iterator[Tensor]:
    """Parts (B, C, *size) of images (B, C, *spatial), evenly spaced, as few as cover them; an axis that is too short is padded
    by repeating its edge."""
    missing = [max(wanted - have, 0) for have, wanted in zip(image.shape[2:], size, strict=True)]
    if any(missing):
        padding = [side for gap in reversed(missing) for side in (gap // 2, gap - gap // 2)]
        image = F.pad(image, padding, mode="replicate")
    starts = []
    for have, wanted in zip(image.shape[2:], size, strict=True):
        count = -(-have // wanted)
        starts.append([round(place * (have - wanted) / max(count - 1, 1)) for place in range(count)])
    for corner in product(*starts):
        cut = [slice(start, start + wanted) for start, wanted in zip(corner, size, strict=True)]
        yield image[:, :, *cut]


def _gave(module: nn.Module, given: Any, output: Tensor) -> NoReturn:
    raise _Reached(output)


def _given(module: nn.Module, given: tuple[Tensor, ...]) -> NoReturn:
    raise _Reached(given[0])


def _place(trial: nn.Module, image: Tensor) -> tuple[str, bool]:
    """Name of the module at which the features are taken, and whether the network is dense: then of its output, else of
    what it is given."""
    if _dense(trial, image):
        return deepest(trial, image)[0], True
    return _last(trial, image), False


def _dense(trial: nn.Module, image: Tensor) -> bool:
    """Whether the network gives scores a voxel."""
    output = _run(trial, image)
    first = output[0] if isinstance(output, list | tuple) else output
    return bool(first.ndim > 2)


def _last(trial: nn.Module, image: Tensor) -> str:
    """Name of the module with parameters that is called last."""
    order: list[str] = []
    hooks = [
        module.register_forward_pre_hook(lambda *_, name=name: order.append(name))
        for name, module in trial.named_modules()
        if any(True for _ in module.parameters(recurse=False))
    ]
    _run(trial, image)
    for hook in hooks:
        hook.remove()
    return order[-1]


def deepest(trial: nn.Module, image: Tensor, layer: str | None = None) -> tuple[str, int]:
    """Name of the module of a network on the meta device with the coarsest output, or of `layer`, and the channels of that
    output. Raises UserError for a layer that gives no features, and where the network cannot take the image."""
    seen: dict[str, torch.Size] = {}

    def note(name: str) -> Any:
        def hook(module: nn.Module, given: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.ndim == image.ndim:
                seen.pop(name, None)
                seen[name] = output.shape

        return hook

    hooks = [module.register_forward_hook(note(name)) for name, module in trial.named_modules() if name]
    _run(trial, image)
    for hook in hooks:
        hook.remove()
    if layer is not None and layer not in seen:
        raise UserError(f"model.layer: '{layer}' gives no features; some that do: {', '.join(list(seen)[:5])}")
    if layer is None:
        best = max((-shape[2:].numel(), shape[1]) for shape in seen.values())
        layer = [name for name, shape in seen.items() if (-shape[2:].numel(), shape[1]) == best][-1]
    return layer, int(seen[layer][1])


def _run(trial: nn.Module, image: Tensor) -> Any:
    try:
        with torch.no_grad():
            return trial(image)
    except Exception as error:  # whatever the network says of the image
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        size = " x ".join(map(str, image.shape[2:]))
        raise UserError(f"model: {type(trial).__name__} cannot take an image of {size}: {reason}") from None
