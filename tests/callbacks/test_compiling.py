"""torch.compile for training: the same numbers, and no run that ends because of it."""

from __future__ import annotations

import logging
import shutil
from functools import partial
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from medexp.callbacks.compiling import Compile

# Adam makes whole steps of rounding errors where a gradient is nothing.
STEADY: dict[str, Any] = {"dropout": 0.0, "optimizer": partial(torch.optim.SGD, lr=0.1)}
pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*LeafSpec")


class Calls(pl.Callback):
    """Whether the network is compiled, in training and in validation."""

    def __init__(self) -> None:
        self.training: list[bool] = []
        self.validation: list[bool] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.training.append(pl_module.net._compiled_call_impl is not None)

    def on_validation_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.validation.append(pl_module.net._compiled_call_impl is not None)


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's compiler without the generation of code, which takes its time."""
    compile_net = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda self, **options: compile_net(self, backend="eager"))


@pytest.mark.usefixtures("traced")
def test_steps_are_compiled_validation_is_not_and_the_numbers_are_those_without(make: Any, fit: Any) -> None:
    calls, plain, compiled = Calls(), make(), make()
    fit(plain, [], epochs=2)
    fit(compiled, [Compile(), calls], epochs=2)
    assert calls.training == [True] * 6
    assert calls.validation == [False] * 6
    assert compiled.net._compiled_call_impl is None  # after training it is as it was written
    for name, value in plain.state_dict().items():  # the trial of the first batch has left nothing behind
        assert torch.equal(compiled.state_dict()[name], value), name


def raises(*_: Any) -> Any:
    """A compiler that cannot."""
    raise NotImplementedError("no kernel for this\nand a long story")


def runs_into(graph: Any, inputs: Any) -> Any:
    """A compiler whose result cannot be run."""

    def run(*_: Any) -> Any:
        raise AssertionError("expected size 4==4, stride 1==4096 at dim=1")

    return run


@pytest.mark.parametrize(("backend", "reason"), [(raises, "no kernel for this"), (runs_into, "expected size 4==4")])
def test_a_network_that_cannot_be_compiled_trains_on_with_a_line(
    backend: Any, reason: str, make: Any, fit: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, logger="medexp")
    compile_net = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda self, **options: compile_net(self, backend=backend))
    calls, plain, other = Calls(), make(), make()
    fit(plain, [])
    fit(other, [Compile(), calls])
    assert calls.training == [False] * 3
    said = [record.getMessage() for record in caplog.records if record.name.startswith("medexp")]
    assert len(said) == 1
    assert said[0].startswith(f"trainer.compile: Net goes on uncompiled: {reason}")
    assert "\n" not in said[0]
    for name, value in plain.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++: torch cannot compile for a CPU here")
@pytest.mark.filterwarnings("ignore")  # of the compiler's own
def test_compiled_for_good_the_losses_are_the_same_to_rounding(make: Any, fit: Any) -> None:
    calls = Calls()
    plain, compiled = make(**STEADY), make(**STEADY)  # a compiled dropout draws other numbers from the same seed
    logged = [fit(plain, []).callback_metrics, fit(compiled, [Compile(), calls]).callback_metrics]
    assert calls.training == [True] * 3
    for name in ("train/loss", "val/loss"):
        torch.testing.assert_close(logged[1][name], logged[0][name], atol=1e-4, rtol=1e-4)
