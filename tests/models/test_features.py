"""Features of any network: the right layer, nothing computed behind it, windows that cover a scan."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from monai.networks.nets import DenseNet121, DynUNet, ResNet, UNet
from torch import nn

from medexp.errors import UserError
from medexp.models.features import Encoder, windows
from medexp.models.simple_cnn import SimpleCNN


def dynunet() -> nn.Module:
    sizes = {"kernel_size": [3, 3, 3], "strides": [1, 2, 2], "upsample_kernel_size": [2, 2]}
    return DynUNet(3, 1, 3, **sizes, filters=[4, 8, 12], deep_supervision=True, deep_supr_num=1)


def resnet() -> nn.Module:
    return ResNet("basic", [1, 1, 1, 1], [4, 8, 8, 16], spatial_dims=2, n_input_channels=1, num_classes=3)


NETS: dict[str, tuple[Callable[[], nn.Module], int, int, str]] = {
    "SimpleCNN": (lambda: SimpleCNN(2, 1, 3, channels=(4, 8), hidden=10), 2, 10, "head"),
    "ResNet": (resnet, 2, 16, "fc"),
    "DenseNet": (lambda: DenseNet121(2, 1, 3, init_features=8, growth_rate=4, block_config=(1, 1)), 2, 10, "class_layers.out"),
    "DynUNet": (dynunet, 3, 12, "upsamples"),
    "UNet": (lambda: UNet(2, 1, 3, channels=(4, 8), strides=(2,)), 2, 12, "model.2"),
}  # fmt: skip


@pytest.mark.parametrize("name", NETS)
def test_features_come_from_what_decides_nothing(name: str) -> None:
    make, dims, width, decides = NETS[name]
    torch.manual_seed(0)
    net = make().eval()
    encoder = Encoder(net, 1, [32] * dims)
    image = torch.randn(2, 1, *[32] * dims)
    found = encoder(image)
    assert found.shape == (2, width) == (2, encoder.width)
    unlearnt = encoder.unlearnt()
    assert unlearnt
    assert any(one.startswith(decides) for one in unlearnt)
    state = net.state_dict()
    for one in unlearnt:
        state[one].zero_() if not state[one].is_floating_point() else state[one].fill_(torch.nan)
    assert torch.equal(encoder(image), found)  # bit for bit without them
    assert not [hook for module in net.modules() for hook in (*module._forward_hooks, *module._forward_pre_hooks)]


@pytest.mark.parametrize("name", NETS)
def test_every_other_parameter_learns(name: str) -> None:
    make, dims, _, _ = NETS[name]
    net = make()
    encoder = Encoder(net, 1, [32] * dims)
    encoder.freeze_rest()
    encoder(torch.randn(2, 1, *[32] * dims)).pow(2).sum().backward()
    learnt = {name for name, parameter in net.named_parameters() if parameter.grad is not None}
    assert learnt == {name for name, parameter in net.named_parameters() if parameter.requires_grad}
    assert learnt.isdisjoint(encoder.unlearnt())


def test_windows_cover_a_scan_of_any_size() -> None:
    image = torch.arange(2 * 11 * 5.0).view(2, 1, 11, 5)
    parts = list(windows(image, (4, 8)))
    assert {part.shape for part in parts} == {(2, 1, 4, 8)}
    assert set(torch.cat([part.flatten() for part in parts]).tolist()) == set(image.flatten().tolist())
    assert len(parts) == 3


def test_features_of_a_scan_are_the_mean_of_its_windows() -> None:
    torch.manual_seed(0)
    encoder = Encoder(UNet(2, 1, 3, channels=(4, 8), strides=(2,)).eval(), 1, [8, 8])
    scan = torch.randn(3, 1, 48, 20)
    wanted = torch.stack([encoder(part) for part in windows(scan, (8, 8))]).mean(dim=0)
    torch.testing.assert_close(encoder.of_whole(scan, (8, 8)), wanted)
    patch = scan[..., :8, :8]
    assert torch.equal(encoder.of_whole(patch, (8, 8)), encoder(patch))


def test_an_image_that_a_network_cannot_take_is_refused_by_size() -> None:
    with pytest.raises(UserError, match="model: SimpleCNN cannot take an image of 2 x 2"):
        Encoder(SimpleCNN(2, 1, 3), 1, [2, 2])
