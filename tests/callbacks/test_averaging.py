"""The average is what is validated, kept and tested; training goes on from the weights of the last step, bit by bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from medexp.callbacks.averaging import AverageWeights, StochasticWeightAverage
from medexp.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*LeafSpec")
State = dict[str, Tensor]


class Notes(pl.Callback):
    """Weights after each step, and those that were validated."""

    def __init__(self) -> None:
        self.steps: list[State] = []
        self.validated: list[State] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.steps.append({name: value.clone() for name, value in pl_module.state_dict().items()})

    def on_validation_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.validated.append({name: value.clone() for name, value in pl_module.state_dict().items()})


def averaged(steps: list[State], decay: float) -> State:
    """By the formula: the first step's weights as they are, then a share that rises to `decay`."""
    mean = {name: value.double() for name, value in steps[0].items()}
    for done, state in enumerate(steps[1:], start=1):
        share = min(decay, (1 + done) / (10 + done))
        mean = {name: share * value + (1 - share) * state[name].double() for name, value in mean.items()}
    return mean


@pytest.mark.parametrize("decay", [0.999, 0.2])
def test_the_average_is_validated_and_training_goes_on_beside_it(make: Any, fit: Any, decay: float) -> None:
    plain, notes = Notes(), Notes()
    fit(make(), [plain], epochs=2)
    task = make()
    fit(task, [AverageWeights(decay), notes], epochs=2)
    for one, other in zip(plain.steps, notes.steps, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)
    wanted = averaged(notes.steps, decay)
    counters = [name for name in wanted if name.endswith("num_batches_tracked")]
    for name in set(wanted) - set(counters):
        torch.testing.assert_close(notes.validated[-1][name].double(), wanted[name], atol=1e-6, rtol=1e-5)
        assert torch.equal(task.state_dict()[name], notes.validated[-1][name])  # what is left in the task
    assert not torch.equal(notes.validated[-1]["net.convolution.weight"], notes.steps[-1]["net.convolution.weight"])
    assert [int(notes.validated[-1][name]) for name in counters] == [6]


def test_a_checkpoint_holds_the_average_and_what_training_goes_on_from(make: Any, fit: Any, tmp_path: Path) -> None:
    notes = Notes()
    trainer = fit(make(), [AverageWeights(), notes])
    trainer.save_checkpoint(tmp_path / "a.ckpt")  # after the end, when the task holds the average
    saved = torch.load(tmp_path / "a.ckpt", weights_only=True)
    for name, value in notes.steps[-1].items():
        assert torch.equal(saved["current_model_state"][name], value)
        assert torch.equal(saved["state_dict"][name], notes.validated[-1][name])


def test_a_resumed_run_is_the_unbroken_one_bit_by_bit(make: Any, fit: Any, tmp_path: Path) -> None:
    unbroken = make()
    fit(unbroken, [AverageWeights(0.9)], epochs=4)
    fit(make(), [AverageWeights(0.9)], epochs=2).save_checkpoint(tmp_path / "half.ckpt")
    resumed = make()
    fit(resumed, [AverageWeights(0.9)], epochs=4, resume=tmp_path / "half.ckpt")
    for name, value in unbroken.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_what_is_saved_within_a_validation_is_the_same(make: Any, fit: Callable[..., Any], tmp_path: Path) -> None:
    class Saves(pl.Callback):
        def on_validation_batch_end(self, trainer: Any, *_: Any) -> None:
            trainer.save_checkpoint(tmp_path / "within.ckpt")

        def on_validation_end(self, trainer: Any, *_: Any) -> None:
            trainer.save_checkpoint(tmp_path / "after.ckpt")

    fit(make(), [AverageWeights(), Saves()])
    within, after = (torch.load(tmp_path / f"{name}.ckpt", weights_only=True) for name in ("within", "after"))
    for part in ("state_dict", "current_model_state"):
        assert all(torch.equal(value, after[part][name]) for name, value in within[part].items())


@pytest.mark.parametrize("decay", [1.0, -0.1, 2])
def test_a_share_that_is_none_is_refused(decay: float) -> None:
    with pytest.raises(UserError, match=r"callbacks\.ema\.decay: .* is not between 0 and 1"):
        AverageWeights(decay)


def test_epochs_from_the_start_on_count_once_each_and_are_validated(make: Any, fit: Any) -> None:
    task, notes = make(), Notes()
    fit(task, [StochasticWeightAverage(0.5), notes], epochs=4)
    ends = [notes.steps[3 * epoch + 2] for epoch in range(4)]
    for name, value in ends[0].items():
        assert torch.equal(notes.validated[2][name], value)  # three batches an epoch: before the start, the last step's
    for batch, counted in ((6, ends[2:3]), (9, ends[2:4])):
        for name, value in notes.validated[batch].items():
            wanted = counted[-1][name] if "tracked" in name else torch.stack([state[name] for state in counted]).mean(0)
            torch.testing.assert_close(value, wanted, atol=1e-6, rtol=1e-5)
            if batch == 9:
                assert torch.equal(task.state_dict()[name], value)


@pytest.mark.parametrize("half", [2, 3])
def test_a_resumed_mean_is_the_unbroken_one_bit_by_bit(make: Any, fit: Any, tmp_path: Path, half: int) -> None:
    unbroken = make()
    fit(unbroken, [StochasticWeightAverage(1 / 4)], epochs=4)  # from the second epoch on
    fit(make(), [StochasticWeightAverage(1 / half)], epochs=half).save_checkpoint(tmp_path / "half.ckpt")
    resumed = make()
    fit(resumed, [StochasticWeightAverage(1 / 4)], epochs=4, resume=tmp_path / "half.ckpt")
    for name, value in unbroken.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_before_there_is_a_mean_a_checkpoint_holds_the_weights_themselves(make: Any, fit: Any, tmp_path: Path) -> None:
    notes = Notes()
    fit(make(), [StochasticWeightAverage(0.9), notes], epochs=1, max_steps=2).save_checkpoint(tmp_path / "a.ckpt")
    saved = torch.load(tmp_path / "a.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(value, saved[name]) for name, value in notes.steps[-1].items())


def test_a_mean_without_an_end_to_count_from_is_refused(make: Any, fit: Any) -> None:
    with pytest.raises(UserError, match=r"callbacks\.swa\.start: 1 is not from 0 to below 1"):
        StochasticWeightAverage(1)
    with pytest.raises(UserError, match=r"trainer\.max_epochs: -1 sets no end"):
        fit(make(), [StochasticWeightAverage()], epochs=-1, max_steps=1)
