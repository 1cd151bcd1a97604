"""Images compared by the features of a trained network."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.networks.nets import BasicUNet, UNet
from torch import nn

from medexp.errors import UserError
from medexp.losses.perceptual import Perceptual
from medexp.models.simple_cnn import SimpleCNN


def unet(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return BasicUNet(spatial_dims=2, in_channels=1, out_channels=3, features=(4, 4, 8, 8, 8, 4))


def loss(tmp_path: Path, **options: Any) -> Perceptual:
    """Of a network whose weights lie in a file, drawn anew for the loss."""
    torch.save(unet(7).state_dict(), tmp_path / "net.pt")
    given = {"net": unet(1), "weights": str(tmp_path / "net.pt"), "spatial_dims": 2, "in_channels": 1, **options}
    return Perceptual(**given)


def pair(channels: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    reference = torch.rand(2, channels, 32, 32)
    return reference + 0.2 * torch.randn(2, channels, 32, 32), reference


@pytest.mark.parametrize("channels", [1, 2])
def test_an_image_equal_to_its_reference_costs_nothing_and_gradients_lead_there(tmp_path: Path, channels: int) -> None:
    image, reference = pair(channels)
    image.requires_grad_()
    compared = loss(tmp_path, weight=1.0)
    assert compared(reference, reference).item() == pytest.approx(0, abs=1e-6)
    before = compared(image, reference)
    before.backward()
    assert image.grad is not None
    assert compared(image.detach() - 2 * image.grad, reference) < before
    assert all(parameter.grad is None for parameter in compared.parameters())


def test_the_weights_are_those_of_the_file_and_stay_what_they_are(tmp_path: Path) -> None:
    compared, (image, reference) = loss(tmp_path), pair()
    compared.train()
    first = compared(image, reference)
    assert not any(module.training for module in compared.net.modules())
    torch.testing.assert_close(compared.net.state_dict(), unet(7).state_dict())
    other = loss(tmp_path)
    other.load_state_dict(compared.state_dict())  # a run that goes on has no need of the file
    (tmp_path / "net.pt").unlink()
    torch.testing.assert_close(other(image, reference), first)


def test_features_are_the_last_of_each_resolution_on_the_way_down(tmp_path: Path) -> None:
    assert loss(tmp_path).layers == ["conv_0", "down_1", "down_2", "down_3"]
    assert loss(tmp_path, layers=["down_2", "conv_0"]).layers == ["conv_0", "down_2"]


@pytest.mark.parametrize(
    "net",
    [
        UNet(3, 1, 2, channels=(4, 8, 16), strides=(2, 2), num_res_units=1),
        SimpleCNN(spatial_dims=3, in_channels=1, out_channels=2, channels=(4, 8)),
    ],
    ids=["unet", "classifier"],
)
def test_networks_of_other_kinds_give_features_of_at_least_two_resolutions(tmp_path: Path, net: nn.Module) -> None:
    torch.save(net.state_dict(), tmp_path / "net.pt")
    compared = Perceptual(net, str(tmp_path / "net.pt"), 3, 1)
    assert len(compared.layers) >= 2
    image = torch.rand(1, 1, 16, 16, 16)
    assert compared(image, image.flip(2)).item() > (image - image.flip(2)).abs().mean().item()


def test_a_file_that_does_not_fill_the_network_is_refused(tmp_path: Path) -> None:
    compared = loss(tmp_path)
    torch.save({"conv_0.conv_0.conv.weight": unet().state_dict()["conv_0.conv_0.conv.weight"]}, tmp_path / "net.pt")
    with pytest.raises(UserError, match=r"loss\.weights: those of .*net\.pt fit \d+% of BasicUNet"):
        compared(*pair())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight": 0.0}, "loss.weight: 0.0 is not above 0"),
        ({"layers": []}, "loss.layers: [] names none; null takes the last of each resolution, of conv_0"),
        ({"layers": ["down_9"]}, "loss.layers: 'down_9' gives no features; did you mean 'down_"),
        ({"in_channels": 3}, "loss.net: BasicUNet cannot take an image"),
    ],
)
def test_a_bad_value_is_named_with_its_key(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        loss(tmp_path, **options)
