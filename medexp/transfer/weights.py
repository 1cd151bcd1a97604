"""A network begins with weights from elsewhere: what fits is loaded or inflated, and every tensor's fate is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from medexp.errors import UserError
from medexp.transfer import inflate, names, sources

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@dataclass(frozen=True)
class Fate:
    """Of one tensor. outcome: "loaded", "inflated", "kept" (as the network drew it), "unused" (of the source alone)."""

    tensor: str
    shape: str
    source: str
    source_shape: str
    outcome: Literal["loaded", "inflated", "kept", "unused"]
    reason: str = ""


@dataclass(frozen=True)
class Report:
    """What became of every tensor of the network and of the source `origin`. share: of the network's parameters that came."""

    origin: str
    fates: tuple[Fate, ...]
    share: float

    def rows(self) -> list[dict[str, str]]:
        return [asdict(fate) for fate in self.fates]

    def count(self, outcome: str) -> int:
        return sum(fate.outcome == outcome for fate in self.fates)

    def summary(self) -> str:
        """One line for the log."""
        kept = [fate for fate in self.fates if fate.outcome == "kept"]
        first = f" (e.g. {kept[0].tensor}: {kept[0].reason})" if kept else ""
        return (
            f"initialised from {self.origin}: {self.count('loaded')} tensors loaded, {self.count('inflated')} inflated, "
            f"{len(kept)} left as drawn{first}, {self.count('unused')} of the source unused; "
            f"{self.share:.1%} of the parameters came"
        )


class Weights:
    """Where a network's first weights are from.

    weights: a run folder, a file of torch or safetensors, a MONAI bundle's folder, torchvision:NAME or timm:NAME; None:
    as the network draws them. checkpoint: of a run folder. entry: of a file with several networks, the one to take.
    prefix, rename: see medexp/transfer/names.py. leave_out: patterns of tensors that stay as drawn: a head that is to
    learn anew. Tensors whose shapes differ stay as drawn too (a head of other classes), but for a first layer of other
    input channels and kernels of one dimension less, which are inflated (see medexp/transfer/inflate.py).
    in_channels: of the images: what a first layer takes. inflation: of 2D kernels, "repeat" or "centre".
    """

    def __init__(
        self,
        weights: str | None = None,
        checkpoint: Literal["best", "last"] = "best",
        entry: str | None = None,
        prefix: str | None = None,
        rename: Mapping[str, str] | None = None,
        leave_out: Sequence[str] = (),
        inflation: inflate.Inflation = "repeat",
        in_channels: int | None = None,
    ) -> None:
        self.source, self.prefix, self.rename = weights, prefix, rename or {}
        self.leave_out, self.inflation, self.in_channels = list(leave_out), inflation, in_channels
        for key, value in {"entry": entry, "prefix": prefix, "leave_out": self.leave_out}.items():
            if value and weights is None:
                raise UserError(f"init.{key}: is of a source of weights, and there is none; give init.weights=PATH")
        self._there: sources.Tensors = {}
        self._origin = ""
        self._untrained: frozenset[str] = frozenset()
        if weights is not None:  # what is wrong with the source is said at once
            self._there, self._origin, self._untrained = sources.read(weights, checkpoint, entry)

    def into(self, net: nn.Module) -> Report | None:
        """Puts the weights into a network; None where none are named. Raises UserError where nothing fits."""
        if self.source is None:
            return None
        wanted = net.state_dict()  # the tensors of the network themselves; some have several names
        found, unused = names.matched(self._there, wanted, self.prefix, self.rename)
        strides = _strides(net)
        once = {name for name, _ in (*net.named_parameters(), *net.named_buffers())}
        fates = [self._fate(name, wanted[name], found.get(name), strides.get(name)) for name in wanted if name in once]
        loose = [Fate("", "", name, _shape(self._there[name]), "unused", reason) for name, reason in unused.items()]
        came = {fate.tensor for fate in fates if fate.outcome in ("loaded", "inflated")}
        parameters = {name: parameter.numel() for name, parameter in net.named_parameters()}
        if not came & parameters.keys():
            raise UserError(self._nothing([*fates, *loose]))
        share = sum(parameters[name] for name in came & parameters.keys()) / sum(parameters.values())
        return Report(self._origin, (*fates, *loose), share)

    @torch.no_grad()
    def _fate(self, name: str, tensor: Tensor, origin: str | None, stride: int | None) -> Fate:
        """Copies one tensor where it can be, and says what was done."""

        def told(outcome: Any, reason: str = "") -> Fate:
            shape = "" if origin is None else _shape(self._there[origin])
            return Fate(name, _shape(tensor), origin or "", shape, outcome, reason)

        if origin is None:
            return told("kept", "the source has no such tensor")
        if names.left_out(name, self.leave_out):
            return told("kept", "named by init.leave_out")
        if origin in self._untrained:
            return told("kept", "had no part in the training of the source")
        value = self._there[origin]
        if value.shape == tensor.shape:
            tensor.copy_(value)
            return told("loaded")
        done = []
        if value.ndim == tensor.ndim - 1 == 4 and value.shape[2:] == tensor.shape[2:-1]:
            value = inflate.depth(value.float(), tensor.shape[-1], self.inflation, stride)
            done.append("2D to 3D")
        if value.ndim > 2 and stride is None and value.shape[1] != tensor.shape[1] == self.in_channels:
            done.append(f"{value.shape[1]} to {tensor.shape[1]} input channels")
            value = inflate.channels(value.float(), tensor.shape[1])
        if value.shape != tensor.shape:
            return told("kept", f"shapes differ: {_shape(self._there[origin])} there, {_shape(tensor)} here")
        tensor.copy_(value)
        return told("inflated", ", ".join(done))

    def _nothing(self, fates: Sequence[Fate]) -> str:
        """Why nothing was loaded, with examples of both sides."""
        reason = next((f"{f.tensor}: {f.reason}" for f in fates if f.outcome == "kept" and f.source), "")
        if not reason:
            here = next((fate.tensor for fate in fates if fate.tensor), "")
            there = next((fate.source for fate in fates if fate.source), "none")
            reason = f"names differ: {there} there, {here} here"
        return (
            f"init.weights: nothing of {self._origin} fits this network ({reason}); "
            "give init.prefix or init.rename, or choose the model that the weights are of"
        )


def _strides(net: nn.Module) -> dict[str, int]:
    """Stride along the last axis of each transposed convolution, by the name of its kernel."""
    found = ((name, module) for name, module in net.named_modules() if isinstance(module, TRANSPOSED))
    return {f"{name}.weight" if name else "weight": int(module.stride[-1]) for name, module in found}


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "1"
