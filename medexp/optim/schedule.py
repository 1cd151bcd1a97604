"""Learning-rate schedules over epochs, with an optional linear warm-up."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LinearLR, LRScheduler, OneCycleLR, ReduceLROnPlateau, SequentialLR

from medexp.errors import UserError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class InverseTime:
    """Factor 1 / (1 + rate * epoch) for torch's LambdaLR (Robbins and Monro 1951). An object: its state is saved."""

    rate: float

    def __call__(self, epoch: int) -> float:
        return 1.0 / (1.0 + self.rate * epoch)


class Schedule:
    """A torch schedule stepped once an epoch, after `warmup` epochs of linear warm-up.

    schedule: completed with the optimizer (and `mode` for ReduceLROnPlateau).
    warmup: epochs that rise linearly: epoch e of w runs at (e + 1) / (w + 1) of the rate that the schedule starts from.
    epochs: epochs of the whole training (trainer.max_epochs).
    horizon: the argument of `schedule` that receives the epochs after warm-up, such as T_max; null where it has none.
    frequency: epochs between two validations; only ReduceLROnPlateau looks at it.
    """

    def __init__(
        self,
        schedule: Callable[..., LRScheduler],
        warmup: int = 0,
        epochs: int | None = None,
        horizon: str | None = None,
        frequency: int | None = 1,
    ) -> None:
        if warmup < 0:
            raise UserError(f"scheduler.warmup: {warmup} is negative; allowed: 0 (none) or a number of epochs")
        self.schedule, self.warmup, self.epochs, self.horizon = schedule, warmup, epochs, horizon
        self.frequency = frequency or 1

    def configure(self, optimizer: Optimizer, monitor: str, mode: str) -> list[dict[str, Any]]:
        """Lightning's lr_scheduler entries. Raises UserError where the schedule needs an end and training has none."""
        warmup = self._warmup(optimizer)  # first: the schedules read the base rate that it leaves in `initial_lr`
        if _makes(self.schedule, ReduceLROnPlateau):
            return self._plateau(optimizer, warmup, monitor, mode)
        length = self._length()
        try:
            main = self.schedule(optimizer, **length, **self._peaks(optimizer))
        except ZeroDivisionError:  # OneCycleLR where pct_start * total_steps is 1: its rise would take no time
            raise UserError(
                f"scheduler.schedule: has no shape over {length}; change its pct_start or trainer.max_epochs"
            ) from None
        except (TypeError, ValueError) as error:  # what a constructor says of a value
            raise UserError(f"scheduler.schedule: {error}; mend its values (`medexp list scheduler`)") from None
        if warmup is None:
            return [_entry(main)]
        return [_entry(SequentialLR(optimizer, [warmup, main], milestones=[self.warmup]))]

    def _warmup(self, optimizer: Optimizer) -> LinearLR | None:
        if not self.warmup:
            return None
        if self.epochs is not None and 0 < self.epochs <= self.warmup:
            log.warning(
                "scheduler.warmup=%d takes all of trainer.max_epochs=%d: the schedule itself never starts",
                self.warmup,
                self.epochs,
            )
        return LinearLR(optimizer, start_factor=1.0 / (self.warmup + 1), total_iters=self.warmup)

    def _length(self) -> dict[str, int]:
        if self.horizon is None:
            return {}
        if self.epochs is None or self.epochs <= 0:
            raise UserError(
                f"trainer.max_epochs: {self.epochs} sets no end, which this schedule needs for its {self.horizon}; "
                "give a number of epochs, or use scheduler=constant"
            )
        # One epoch is given as the first of two: OneCycleLR has no shape over one, and only the first rate is used.
        return {self.horizon: max(2, self.epochs - self.warmup)}

    def _peaks(self, optimizer: Optimizer) -> dict[str, Any]:
        """One cycle gives all parameters one peak, where their rates differ: each gets its share of it."""
        given = getattr(self.schedule, "keywords", {}).get("max_lr")
        own = [group["lr"] for group in optimizer.param_groups]
        if not _makes(self.schedule, OneCycleLR) or not isinstance(given, int | float) or len(set(own)) == 1:
            return {}
        return {"max_lr": [given * rate / max(own) for rate in own]}

    def _plateau(self, optimizer: Optimizer, warmup: LinearLR | None, monitor: str, mode: str) -> list[dict[str, Any]]:
        # Both multiply the current rate, so they compose. Cooldown is ReduceLROnPlateau's way not to count bad epochs.
        try:
            main: Any = self.schedule(optimizer, mode=mode)
        except (TypeError, ValueError) as error:
            raise UserError(f"scheduler.schedule: {error}; mend its values (`medexp list scheduler`)") from None
        main.cooldown_counter = self.warmup // self.frequency
        entries = [] if warmup is None else [_entry(warmup)]
        return [*entries, {**_entry(main), "monitor": monitor, "frequency": self.frequency, "reduce_on_plateau": True}]


def follow(checkpoint: dict[str, Any], optimizers: Sequence[Optimizer], entries: Sequence[dict[str, Any]]) -> None:
    """Puts the schedules of a checkpoint, and the rates of its optimizers, where these new ones are in its epoch: a rate is
    a function of the epoch, whatever length the run had before. A plateau, which is a matter of what was seen, stays."""
    saved = checkpoint.get("lr_schedulers")
    if not saved or any(entry.get("reduce_on_plateau") for entry in entries):
        return
    for optimizer in optimizers:
        optimizer.step()  # before any gradient: moves nothing, but schedules want it to come first
    for _ in range(saved[0]["last_epoch"]):
        for entry in entries:
            entry["scheduler"].step()
    checkpoint["lr_schedulers"] = [entry["scheduler"].state_dict() for entry in entries]
    for state, optimizer in zip(checkpoint["optimizer_states"], optimizers, strict=True):
        for group, follows in zip(state["param_groups"], optimizer.param_groups, strict=True):
            group["lr"] = follows["lr"]


def _entry(scheduler: LRScheduler) -> dict[str, Any]:
    return {"scheduler": scheduler, "interval": "epoch", "frequency": 1}


def _makes(schedule: Callable[..., Any], kind: type) -> bool:
    """Whether a class, or a partial of it, makes `kind`."""
    made = getattr(schedule, "func", schedule)
    return isinstance(made, type) and issubclass(made, kind)
