"""bfloat16 on a CPU: gradients of convolutions whose maps are smaller than their kernels are those of float32."""

from __future__ import annotations

from copy import deepcopy
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from medexp.callbacks.small_convolutions import SmallConvolutions
from medexp.trainer import Trainer

SHAPES: list[tuple[nn.Module, tuple[int, ...]]] = [
    (nn.Conv3d(32, 32, 3, padding=1), (2, 2, 2)),
    (nn.Conv3d(32, 32, 3, padding=1, stride=2), (1, 1, 1)),
    (nn.Conv3d(32, 32, 5, padding=2), (4, 4, 4)),
    (nn.Conv3d(32, 32, (3, 3, 1), padding=(1, 1, 0)), (2, 8, 8)),
    (nn.Conv3d(32, 32, 3, padding=2, dilation=2), (4, 6, 6)),
    (nn.Conv2d(32, 32, 3, padding=1, stride=2), (8, 1)),
    (nn.ConvTranspose2d(32, 32, 3, stride=2, padding=1), (4, 1)),
    (nn.ConvTranspose3d(32, 32, 3, stride=2, padding=1), (2, 1, 2)),
    (nn.ConvTranspose3d(32, 32, 4, stride=2, padding=2), (2, 2, 2)),
]


class Held(pl.LightningModule):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net


def guarded(net: nn.Module, precision: str = "bf16-mixed", device: str = "cpu") -> nn.Module:
    module = Held(deepcopy(net))
    strategy = SimpleNamespace(root_device=torch.device(device))
    trainer: Any = SimpleNamespace(strategy=strategy, precision=precision)
    SmallConvolutions().setup(trainer, module, "fit")
    return module.net


def gradient(net: nn.Module, image: Tensor, reduced: bool) -> Tensor:
    """Of the kernel, for a fixed direction."""
    with torch.autocast("cpu", torch.bfloat16, enabled=reduced):
        out = net(image)
    out.backward(torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(out.dtype))
    found = net.weight.grad
    assert isinstance(found, Tensor)
    return found.float()


def close(found: Tensor, wanted: Tensor) -> bool:
    return bool((found - wanted).abs().max() < 0.05 * wanted.abs().max())


@pytest.mark.parametrize(("net", "shape"), SHAPES, ids=str)
def test_gradients_in_bfloat16_are_those_of_float32(net: nn.Module, shape: tuple[int, ...]) -> None:
    image = torch.randn(2, 32, *shape)
    wanted = gradient(deepcopy(net), image, reduced=False)
    for _ in range(4):  # memory that was not written differs from call to call
        assert close(gradient(guarded(net), image, reduced=True), wanted)


def test_weights_in_bfloat16_have_gradients_too() -> None:
    net, image = nn.Conv3d(32, 32, 3, padding=1), torch.randn(2, 32, 2, 2, 2)
    wanted = gradient(deepcopy(net), image, reduced=False)
    half = guarded(net.bfloat16(), "bf16-true")
    assert close(gradient(half, image.bfloat16(), reduced=False), wanted)
    assert half.weight.dtype == half.weight.grad.dtype == torch.bfloat16  # type: ignore[union-attr]


def test_large_maps_and_inference_stay_in_bfloat16() -> None:
    net = guarded(nn.Conv3d(2, 2, 3, padding=1))
    with torch.autocast("cpu", torch.bfloat16):
        assert net(torch.zeros(1, 2, 3, 3, 3)).dtype == torch.bfloat16
        assert net(torch.zeros(1, 2, 2, 3, 3)).dtype == torch.float32
        with torch.no_grad():
            assert net(torch.zeros(1, 2, 2, 3, 3)).dtype == torch.bfloat16


@pytest.mark.parametrize(("precision", "device"), [("32-true", "cpu"), ("bf16-mixed", "cuda")])
def test_nothing_is_done_where_nothing_is_wrong(precision: str, device: str) -> None:
    assert guarded(nn.Conv3d(2, 2, 3), precision, device).forward.__name__ == "forward"


def test_averaged_copies_of_a_network_have_kernels_of_their_own() -> None:
    net = guarded(nn.Conv3d(2, 2, 3, padding=1))
    copied = deepcopy(net)
    with torch.no_grad():
        copied.weight.zero_()
        copied.bias.zero_()
    image = torch.randn(1, 2, 2, 2, 2)
    assert copied(image).abs().max() == 0
    assert net(image).abs().max() > 0


def test_every_training_has_the_guard() -> None:
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    assert any(isinstance(callback, SmallConvolutions) for callback in trainer.callbacks)
