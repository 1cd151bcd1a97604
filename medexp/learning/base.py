"""Learning: how training uses a batch, where that is not the supervised step of the task alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, Protocol

from torch import Tensor, nn

UNLABELLED, STRONG = "unlabelled", "strong"  # keys of a batch: the batch of cases without a label, their strong view


class Learner(Protocol):
    """What a way to learn asks of a task."""

    net: nn.Module
    loss: nn.Module

    @property
    def global_step(self) -> int: ...

    def step(self, batch: dict[str, Any]) -> Any: ...

    def probabilities(self, scores: Tensor) -> Tensor: ...

    def network(self, batch: dict[str, Any]) -> Any: ...


class Learning(nn.Module, ABC):
    """A way to learn for any task of the `kinds` that it says (medexp/targets.py); it is part of the task, and so are its
    networks: on the device, in checkpoints, and, where they take gradients, in the optimizer.

    unlabelled: whether batches need cases without a label; strong: in a strong view as well (medexp/data/unlabelled.py).
    tells: names of what `objective` puts into `told` beside the loss, scalars that are logged as train/<name>.
    twin: whether a second network learns, of which the options that look into the first know nothing. averages: whether what
    predicts is an average of weights.
    """

    kinds: ClassVar[tuple[str, ...]]
    unlabelled: ClassVar[bool] = True
    strong: ClassVar[bool] = False
    twin: ClassVar[bool] = False
    averages: ClassVar[bool] = False
    tells: ClassVar[tuple[str, ...]] = ()
    told: tuple[Tensor, ...] = ()  # of the last step; what is missing counts as 0

    def begin(self, net: nn.Module) -> None:
        """Told of the network of the task, when that is built."""

    @abstractmethod
    def objective(self, task: Learner, batch: dict[str, Any]) -> Tensor:
        """The loss of a training step, a scalar. Randomness follows the generators that the task has seeded."""

    def stepped(self, task: Learner) -> None:
        """Told after each step of the optimizer, before the task counts it in `global_step`."""

    def predictor(self, net: nn.Module) -> nn.Module:
        """The network that validates and predicts."""
        return net


@contextmanager
def through(task: Learner, net: nn.Module) -> Iterator[None]:
    """Within, the steps of a task are of this network."""
    own = task.net
    task.net = net
    try:
        yield
    finally:
        task.net = own


def scores_of(task: Learner, net: nn.Module, batch: Mapping[str, Any], view: str = "image") -> Tensor:
    """Scores (B, K) or (B, K, *spatial), float32, of the images of a batch as this network sees them; of deep supervision,
    those of its last head."""
    image = batch[view]
    with through(task, net):
        found = task.network(dict(batch))(image)
    if isinstance(found, list | tuple):
        return found[0].float()
    stacked = found.ndim == image.ndim + 1  # (B, heads, K, *spatial)
    return (found[:, 0] if stacked else found).float()
