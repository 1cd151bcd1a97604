"""Layers that stay as they were loaded: for good (feature extraction), or until their turn comes (gradual unfreezing)."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import pytorch_lightning as pl
from torch import nn
from torch.optim import Optimizer

from medexp.errors import UserError
from medexp.optim.layers import Layer, encoder, layers

log = logging.getLogger(__name__)


class Freeze(pl.Callback):
    """Takes layers of the network (see medexp/optim/layers.py) out of training. The optimizer never sees them, and their
    norms keep their running statistics.

    layers: "encoder"; a number: the first so many, negative: all but the last so many; or patterns (regular expressions)
    of names of modules and parameters.
    """

    def __init__(self, layers: Literal["encoder"] | int | Sequence[str] = "encoder") -> None:
        self.layers = layers
        self._modules: list[nn.Module] = []

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        net: Any = pl_module.net
        frozen = self._chosen(net)
        for parameter in frozen:
            parameter.requires_grad_(False)
        left = sum(parameter.numel() for parameter in net.parameters() if parameter.requires_grad)
        if not left:
            raise UserError(
                f"callbacks.freeze.layers: {self.layers} freezes all of the network; leave its last layer out"
            )
        self._modules = _all_frozen(net)
        if trainer.is_global_zero:
            names = [name for name, _ in net.named_parameters()]
            some = [name for name, parameter in net.named_parameters() if not parameter.requires_grad]
            count = f"{len(some)} of {len(names)} tensors"
            log.info("frozen: %s, %s to %s; %.2f M parameters learn", count, some[0], some[-1], left / 1e6)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        _still(self._modules)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        _still(self._modules)

    def _chosen(self, net: nn.Module) -> list[nn.Parameter]:
        """Parameters to freeze. Raises UserError where there are none of that description."""
        found = layers(net)
        if isinstance(self.layers, int | str):
            count = encoder(found) if isinstance(self.layers, str) else self.layers
            chosen = [parameter for layer in found[:count] for parameter in layer.parameters]
            if not chosen or (isinstance(self.layers, int) and abs(self.layers) >= len(found)):
                names = ", ".join(layer.name for layer in found)
                raise UserError(f"callbacks.freeze.layers: {self.layers} of {len(found)} layers; they are {names}")
            return chosen
        named = dict(net.named_parameters())
        chosen = []
        for pattern in self.layers:
            matching = [parameter for name, parameter in named.items() if re.search(pattern, name)]
            if not matching:
                names = ", ".join(layer.name for layer in found)
                raise UserError(f"callbacks.freeze.layers: no name has '{pattern}' in it; layers: {names}")
            chosen += matching
        return chosen


class GradualUnfreezing(pl.Callback):
    """First the last layers learn, then the ones before them join, so that a new head does not undo what was learnt
    elsewhere (Howard and Ruder 2018, arXiv:1801.06146).

    begin: layers that learn from the start, counted from the output. every: epochs until the next join. at_once: how
    many join. Which layers learn is a function of the epoch, so a resumed run learns what the unbroken one would have;
    the optimizer knows all layers from the start. The norms of a frozen layer keep their running statistics.

    In one process frozen layers take no gradient, which saves their backward pass. Several that train together agree on
    the gradients of all parameters once, at the start: there the gradients are made and dropped.
    """

    def __init__(self, begin: int = 1, every: int = 1, at_once: int = 1) -> None:
        for key, value in {"begin": begin, "every": every, "at_once": at_once}.items():
            if value < 1:
                raise UserError(f"callbacks.unfreeze.{key}: {value} is less than 1")
        self.begin, self.every, self.at_once = begin, every, at_once
        self._layers: list[Layer] = []
        self._dropped: list[nn.Parameter] = []
        self._learning = 0  # layers, when it was last said

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        found = layers(pl_module.net)  # type: ignore[arg-type]  # every task has one
        for layer in found:  # what another callback froze stays frozen
            layer.parameters = [parameter for parameter in layer.parameters if parameter.requires_grad]
            layer.modules = [one for one in layer.modules if any(p.requires_grad for p in one.parameters())]
        self._layers = [layer for layer in found if layer.parameters]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._turn(trainer)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._turn(trainer)

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        for parameter in self._dropped:
            parameter.grad = None

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for layer in self._layers:
            _learn(layer.parameters, True)

    def _turn(self, trainer: pl.Trainer) -> None:
        """Sets what learns in the current epoch."""
        learning = self.begin + trainer.current_epoch // self.every * self.at_once
        count = max(len(self._layers) - learning, 0)
        frozen, joined = self._layers[:count], self._layers[count:]
        alone = trainer.world_size == 1
        self._dropped = [] if alone else [parameter for layer in frozen for parameter in layer.parameters]
        for layer in frozen:
            _learn(layer.parameters, not alone)
            _still(layer.modules)
        for layer in joined:
            _learn(layer.parameters, True)
            _still(layer.modules, still=False)
        if trainer.is_global_zero and len(joined) != self._learning:
            self._learning = len(joined)
            log.info("%d of %d layers learn, from %s on", len(joined), len(self._layers), joined[0].name)


def _learn(parameters: Iterable[nn.Parameter], learn: bool) -> None:
    for parameter in parameters:
        parameter.requires_grad_(learn)


def _all_frozen(net: nn.Module) -> list[nn.Module]:
    """Norms with running statistics none of whose own parameters learn, in blocks that do not learn either."""
    found = []
    for name, module in net.named_modules():
        parent = net.get_submodule(name.rpartition(".")[0])
        around = module if any(True for _ in module.parameters()) else parent
        if _keeps_statistics(module) and not any(parameter.requires_grad for parameter in around.parameters()):
            found.append(module)
    return found


def _keeps_statistics(module: nn.Module) -> bool:
    return getattr(module, "running_mean", None) is not None


def _still(modules: Iterable[nn.Module], still: bool = True) -> None:
    for module in modules:
        if _keeps_statistics(module):
            module.train(not still)
