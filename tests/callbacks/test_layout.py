"""Another order in memory, the same network."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from medexp.callbacks.layout import ChannelsLast, laid_out

# Adam makes whole steps of rounding errors where a gradient is nothing.
STEADY: dict[str, Any] = {"dropout": 0.0, "optimizer": partial(torch.optim.SGD, lr=0.1)}
pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*LeafSpec")


@pytest.mark.parametrize("axes", [2, 3])
def test_channels_lie_innermost_and_values_stay(axes: int) -> None:
    tensor = torch.randn(2, 3, *[4] * axes)
    found = laid_out(tensor)
    assert torch.equal(found, tensor)
    assert found.stride(1) == 1
    assert not found.is_contiguous()


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 3, 4)])
def test_tensors_without_space_stay_as_they_are(shape: tuple[int, ...]) -> None:
    tensor = torch.randn(shape)
    assert laid_out(tensor) is tensor


def test_training_is_the_same_to_rounding_and_so_is_its_checkpoint(make: Any, fit: Any) -> None:
    strides = []

    class Notes(pl.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
            strides.append(pl_module.net.convolution.weight.stride())

    plain, other = make(**STEADY), make(**STEADY)  # dropout draws in the order of memory
    fit(plain, [])
    fit(other, [ChannelsLast(), Notes()])
    assert strides == [nn.Conv2d(1, 4, 3).to(memory_format=torch.channels_last).weight.stride()] * 3  # type: ignore[call-overload]
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], value, atol=1e-5, rtol=1e-4)
    fresh = make()
    fresh.load_state_dict(other.state_dict())
    assert fresh.net.convolution.weight.is_contiguous()
