"""Layers that do not learn: for good, or until their turn; their norms keep their statistics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from medexp.callbacks.freezing import Freeze, GradualUnfreezing
from medexp.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*LeafSpec")
State = dict[str, Tensor]
LAYERS = {"convolution": 0, "norm": 0, "dense": 1}  # the norm goes with the convolution before it


class Epochs(pl.Callback):
    """The network at the start of each epoch, and at the end."""

    def __init__(self) -> None:
        self.states: list[State] = []

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self.states.append({name: value.clone() for name, value in pl_module.net.state_dict().items()})

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self.on_train_epoch_start(trainer, pl_module)


def moved(before: State, after: State) -> set[str]:
    return {name.partition(".")[0] for name, value in before.items() if not torch.equal(value, after[name])}


@pytest.mark.parametrize("layers", ["encoder", 1, -1, ["^convolution", r"^norm\."]])
def test_frozen_layers_and_their_statistics_stay_as_they_were(make: Any, fit: Any, layers: Any) -> None:
    notes, task = Epochs(), make()
    trainer = fit(task, [Freeze(layers), notes], epochs=2)
    assert moved(notes.states[0], notes.states[-1]) == {"dense"}
    assert [len(group["params"]) for group in trainer.optimizers[0].param_groups] == [1, 1]
    assert not task.net.norm.training or not task.training


def test_norms_of_what_learns_go_on_counting(make: Any, fit: Any) -> None:
    notes = Epochs()
    fit(make(), [Freeze(["^dense"]), notes])
    assert moved(notes.states[0], notes.states[-1]) == {"convolution", "norm"}


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        (2, "callbacks.freeze.layers: 2 of 2 layers; they are convolution, dense"),
        (-2, "callbacks.freeze.layers: -2 of 2 layers"),
        (0, "callbacks.freeze.layers: 0 of 2 layers"),
        (["encoder"], "no name has 'encoder' in it; layers: convolution, dense"),
        ([r"\."], "freezes all of the network"),
    ],
)
def test_what_freezes_nothing_or_everything_is_refused(make: Any, fit: Any, layers: Any, said: str) -> None:
    with pytest.raises(UserError) as caught:
        fit(make(), [Freeze(layers)])
    assert said in str(caught.value)


def test_layers_join_from_the_output_on(make: Any, fit: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="medexp")
    notes, task = Epochs(), make()
    trainer = fit(task, [GradualUnfreezing(begin=1, every=2), notes], epochs=4)
    steps = [moved(before, after) for before, after in zip(notes.states[:-1], notes.states[1:], strict=True)]
    assert steps == [{"dense"}, {"dense"}, {"convolution", "norm", "dense"}, {"convolution", "norm", "dense"}]
    assert sum(len(group["params"]) for group in trainer.optimizers[0].param_groups) == len(list(task.parameters()))
    assert all(parameter.requires_grad for parameter in task.parameters())
    assert "1 of 2 layers learn, from dense on" in caplog.text
    assert "2 of 2 layers learn, from convolution on" in caplog.text


def test_what_is_frozen_for_good_never_joins(make: Any, fit: Any) -> None:
    notes = Epochs()
    fit(make(), [GradualUnfreezing(), Freeze(["^norm"]), notes], epochs=3)
    assert moved(notes.states[0], notes.states[-1]) == {"convolution", "dense"}


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_a_resumed_run_unfreezes_as_the_unbroken_one(make: Any, fit: Any, tmp_path: Path, stop: int) -> None:
    unbroken = make()
    fit(unbroken, [GradualUnfreezing(every=2)], epochs=4)
    fit(make(), [GradualUnfreezing(every=2)], epochs=stop).save_checkpoint(tmp_path / "part.ckpt")
    resumed = make()
    fit(resumed, [GradualUnfreezing(every=2)], epochs=4, resume=tmp_path / "part.ckpt")
    for name, value in unbroken.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_gradients_that_are_dropped_learn_what_gradients_that_are_not_made_do(make: Any, fit: Any) -> None:
    """What several processes do, in one."""

    class AsIfTwo(GradualUnfreezing):
        def _turn(self, trainer: Any) -> None:
            class Two:
                world_size, current_epoch, is_global_zero = 2, trainer.current_epoch, False

            super()._turn(Two())  # type: ignore[arg-type]

    alone, together = make(), make()
    fit(alone, [GradualUnfreezing(every=2)], epochs=3)
    fit(together, [AsIfTwo(every=2)], epochs=3)
    for name, value in alone.state_dict().items():
        assert torch.equal(value, together.state_dict()[name]), name


@pytest.mark.parametrize("key", ["begin", "every", "at_once"])
def test_counts_below_one_are_refused(key: str) -> None:
    with pytest.raises(UserError, match=f"callbacks.unfreeze.{key}: 0 is less than 1"):
        GradualUnfreezing(**{key: 0})
