"""What every shipped schedule keeps: rates by epoch, warm-up, resume; found by glob."""

from __future__ import annotations

import io
import logging
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from medexp.errors import UserError
from medexp.optim.schedule import Schedule

LEAVES = {path.stem: path for path in sorted(Path(__file__).parents[2].joinpath("conf/scheduler").glob("*.yaml"))}
LR = 0.1
FIRST = {"one_cycle": LR / 25}  # rate of the first epoch after warm-up, where it is not the optimizer's
# Rates by hand: leaf -> {epoch: rate} of ten epochs without warm-up.
BY_HAND = {
    "constant": {0: 0.1, 9: 0.1},
    "step": {0: 0.1, 9: 0.1},
    "exponential": {1: 0.097, 9: 0.1 * 0.97**9},
    "inverse_time": {1: 0.1 / 1.1, 5: 0.1 / 1.5},
    "cosine": {5: 0.05, 9: 0.05 * (1 + math.cos(0.9 * math.pi))},
    "warm_restarts": {5: 0.05, 9: 0.05 * (1 + math.cos(0.9 * math.pi))},
    "polynomial": {5: 0.1 * 0.5**0.9, 9: 0.1 * 0.1**0.9},
    "one_cycle": {0: 0.004, 2: 0.1, 9: 0.004 / 1e4},
    "plateau": {0: 0.1, 9: 0.1},
}


def schedule(name: str, epochs: int | None = 10, every: int = 1, **changes: Any) -> Schedule:
    facts = {"trainer": {"max_epochs": epochs, "check_val_every_n_epoch": every}, "optimizer": {"lr": LR}}
    leaf = OmegaConf.merge(OmegaConf.load(LEAVES[name]), changes)
    return instantiate(OmegaConf.create({**facts, "scheduler": leaf}).scheduler, _convert_="all")


def optimizer() -> torch.optim.Optimizer:
    parameters = [torch.nn.Parameter(torch.ones(1)), torch.nn.Parameter(torch.ones(1))]
    return torch.optim.SGD([{"params": [parameter]} for parameter in parameters], lr=LR)


def run(
    made: torch.optim.Optimizer, entries: list[dict[str, Any]], start: int, stop: int, score: float = 1.0
) -> list[float]:
    """Rates of epochs start to stop - 1, stepping as Lightning does at the end of each."""
    rates = []
    for epoch in range(start, stop):
        made.step()
        assert len({group["lr"] for group in made.param_groups}) == 1
        rates.append(made.param_groups[0]["lr"])
        for entry in entries:
            if (epoch + 1) % entry["frequency"] == 0:
                entry["scheduler"].step(*([score] if "monitor" in entry else []))
    return rates


def rates(name: str, epochs: int = 10, **changes: Any) -> list[float]:
    made = optimizer()
    return run(made, schedule(name, epochs, **changes).configure(made, "val/dice", "max"), 0, epochs)


def test_there_are_schedules() -> None:
    assert set(LEAVES) == set(BY_HAND)
    assert all(path.read_text().startswith("# ") for path in LEAVES.values())


@pytest.mark.parametrize("name", LEAVES)
def test_rates_are_those_by_hand(name: str) -> None:
    found = rates(name)
    assert {epoch: found[epoch] for epoch in BY_HAND[name]} == pytest.approx(BY_HAND[name])


@pytest.mark.parametrize("name", LEAVES)
def test_warm_up_rises_evenly_and_the_schedule_follows_in_full(name: str) -> None:
    warm = rates(name, warmup=4)
    first = FIRST.get(name, LR)
    assert warm[:5] == pytest.approx([first * share for share in (0.2, 0.4, 0.6, 0.8, 1.0)])
    assert warm[4:] == pytest.approx(rates(name, epochs=6))


@pytest.mark.parametrize("name", LEAVES)
@pytest.mark.parametrize(("epochs", "warmup"), [(1, 0), (2, 0), (3, 2)])
def test_short_trainings_have_useful_rates(name: str, epochs: int, warmup: int) -> None:
    found = rates(name, epochs=epochs, warmup=warmup)
    assert len(found) == epochs
    assert all(0 < rate <= LR for rate in found)
    assert max(found) > 0.5 * LR


@pytest.mark.parametrize("name", LEAVES)
@pytest.mark.parametrize("warmup", [0, 3])
def test_resumed_schedule_continues_as_the_unbroken_one(name: str, warmup: int) -> None:
    made = optimizer()
    entries = schedule(name, warmup=warmup).configure(made, "val/dice", "max")
    run(made, entries, 0, 5)
    file = io.BytesIO()
    torch.save([made.state_dict(), [entry["scheduler"].state_dict() for entry in entries]], file)
    unbroken = run(made, entries, 5, 10)
    file.seek(0)
    optimizer_state, states = torch.load(file, weights_only=True)
    again = optimizer()
    resumed = schedule(name, warmup=warmup).configure(again, "val/dice", "max")
    again.load_state_dict(optimizer_state)
    for entry, state in zip(resumed, states, strict=True):
        entry["scheduler"].load_state_dict(state)
    assert run(again, resumed, 5, 10) == unbroken


@pytest.mark.parametrize("name", LEAVES)
def test_entries_are_stepped_once_an_epoch(name: str) -> None:
    entries = schedule(name).configure(optimizer(), "val/dice", "max")
    assert [(entry["interval"], entry["frequency"]) for entry in entries] == [("epoch", 1)]


@pytest.mark.parametrize("name", ["cosine", "polynomial", "one_cycle"])
@pytest.mark.parametrize("epochs", [None, -1, 0])
def test_training_without_an_end_is_named(name: str, epochs: int | None) -> None:
    with pytest.raises(UserError, match=f"trainer.max_epochs: {epochs} sets no end.*scheduler=constant"):
        schedule(name, epochs).configure(optimizer(), "val/dice", "max")


@pytest.mark.parametrize("name", ["constant", "exponential", "plateau"])
def test_schedules_without_a_length_need_no_end(name: str) -> None:
    made = optimizer()
    assert run(made, schedule(name, -1).configure(made, "val/dice", "max"), 0, 1) == [LR]


def test_plateau_is_told_what_to_watch() -> None:
    (entry,) = schedule("plateau", every=5).configure(optimizer(), "val/dice", "max")
    assert (entry["monitor"], entry["scheduler"].mode, entry["frequency"]) == ("val/dice", "max", 5)
    (entry,) = schedule("plateau").configure(optimizer(), "val/loss", "min")
    assert entry["scheduler"].mode == "min"


def test_plateau_reduces_after_its_patience_and_uses_none_in_warm_up() -> None:
    made = optimizer()
    entries = schedule("plateau", schedule={"patience": 1}).configure(made, "val/dice", "max")
    assert run(made, entries, 0, 5) == pytest.approx([0.1, 0.1, 0.1, 0.05, 0.05])
    made = optimizer()
    entries = schedule("plateau", schedule={"patience": 1}, warmup=4).configure(made, "val/dice", "max")
    assert run(made, entries, 0, 8) == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1, 0.1, 0.05, 0.05])


def test_step_and_restarts_come_where_they_should() -> None:
    assert rates("step", schedule={"step_size": 3})[2:4] == pytest.approx([0.1, 0.01])
    assert rates("warm_restarts", schedule={"T_0": 2})[:7] == pytest.approx(
        [0.1, 0.05, 0.1, 0.05 * (1 + math.cos(math.pi / 4)), 0.05, 0.05 * (1 - math.cos(math.pi / 4)), 0.1]
    )


def test_warm_up_longer_than_training_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        found = rates("cosine", epochs=2, warmup=3)
    assert found == pytest.approx([0.025, 0.05])
    assert "scheduler.warmup=3 takes all of trainer.max_epochs=2" in caplog.text


def test_negative_warm_up_is_named() -> None:
    with pytest.raises(UserError, match=r"scheduler\.warmup: -1 is negative"):
        Schedule(torch.optim.lr_scheduler.ConstantLR, warmup=-1)


@pytest.mark.parametrize(("name", "value"), [("constant", {"factor": -1}), ("plateau", {"factor": 2.0})])
def test_a_value_that_torch_refuses_is_said_of_the_schedule(name: str, value: dict[str, float]) -> None:
    with pytest.raises(UserError, match=r"scheduler\.schedule: .*; mend its values"):
        schedule(name, schedule=value).configure(optimizer(), "val/dice", "max")


def test_cycle_without_a_rise_is_named() -> None:
    with pytest.raises(UserError, match=r"has no shape over .*change its pct_start"):
        schedule("one_cycle", schedule={"pct_start": 0.1}).configure(optimizer(), "val/dice", "max")
