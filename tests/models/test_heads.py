"""Heads on the deepest features of whatever encoder-decoder."""

from __future__ import annotations

import copy
from collections.abc import Callable

import monai.networks.nets as nets
import pytest
import torch
from torch import nn

from medexp.errors import UserError
from medexp.models.heads import PooledHeads

TARGETS = {"volume": "ml", "presence": ["healthy", "lesion"], "grade": ["a", "b", "c"]}
NETS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "UNet": (lambda: nets.UNet(2, 1, 3, channels=(4, 8, 16), strides=(2, 2)), 8 + 16),  # with those that skip it
    "BasicUNet": (lambda: nets.BasicUNet(2, 1, 3, features=(4, 4, 8, 8, 16, 4)), 16),
    "DynUNet": (lambda: nets.DynUNet(2, 1, 3, [3] * 3, [1, 2, 2], [2, 2], filters=[4, 8, 12]), 12),
    "SegResNet": (lambda: nets.SegResNet(2, 8, 1, 3), 64),
    "AttentionUnet": (lambda: nets.AttentionUnet(2, 1, 3, channels=(4, 8, 16), strides=(2, 2)), 16),
}


@pytest.mark.parametrize("name", NETS)
def test_the_coarsest_features_of_a_network_feed_its_heads(name: str) -> None:
    make, channels = NETS[name]
    torch.manual_seed(0)
    net = make()
    heads = PooledHeads(net, 2, 1, TARGETS, hidden=4).eval()
    assert heads.heads[0][1].in_features == 2 * channels
    image = torch.randn(2, 1, 64, 64)
    found = heads(image)
    assert found.shape == (2, 3 + 5, 64, 64)
    torch.testing.assert_close(found[:, :3], net(image))
    assert torch.equal(found[:, 3:], found[:, 3:, :1, :1].expand(-1, -1, 64, 64))
    found[:, 3:].sum().backward()
    assert any(parameter.grad is not None for parameter in net.parameters())  # the encoder learns from the heads too


def test_maps_of_deep_supervision_follow_the_first() -> None:
    net = nets.DynUNet(2, 1, 3, [3] * 3, [1, 2, 2], [2, 2], filters=[4, 8, 8], deep_supervision=True, deep_supr_num=1)
    heads = PooledHeads(net, 2, 1, {"volume": "ml"})
    found = heads(torch.randn(2, 1, 16, 16))
    assert [tuple(one.shape) for one in found] == [(2, 4, 16, 16), (2, 3, 16, 16)]
    assert heads.eval()(torch.randn(2, 1, 16, 16)).shape == (2, 4, 16, 16)


def test_a_copy_has_features_of_its_own() -> None:
    torch.manual_seed(0)
    heads = PooledHeads(NETS["UNet"][0](), 2, 1, TARGETS).eval()
    image = torch.randn(1, 1, 16, 16)
    other = copy.deepcopy(heads)
    torch.testing.assert_close(other(image), heads(image))
    for parameter in other.net.parameters():
        parameter.data.zero_()
    assert not torch.equal(other(image)[:, 3:], heads(image)[:, 3:])


def test_heads_learn_from_features_of_any_size() -> None:
    """Units that are 0 for all images learn nothing more."""
    torch.manual_seed(0)
    net = nets.UNet(2, 1, 3, channels=(4, 8, 16), strides=(2, 2), norm=None)
    heads = PooledHeads(net, 2, 1, TARGETS)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(6)
    found = heads(torch.randn(8, 1, 16, 16))[:, 3:, 0, 0]
    assert found.std(dim=0).min() > 1e-3
    found.square().sum().backward()
    for head in heads.heads:
        assert (head[1].weight.grad.abs().amax(dim=1) > 0).all()


def test_the_layer_can_be_named() -> None:
    heads = PooledHeads(NETS["BasicUNet"][0](), 2, 1, TARGETS, layer="down_1")
    assert heads.heads[0][1].in_features == 2 * 4
    with pytest.raises(UserError, match=r"model\.layer: 'down_9' gives no features; some that do: "):
        PooledHeads(NETS["BasicUNet"][0](), 2, 1, TARGETS, layer="down_9")
    with pytest.raises(UserError, match="names nothing for the heads"):
        PooledHeads(NETS["BasicUNet"][0](), 2, 1, {})
    with pytest.raises(UserError, match=r"model: UNet cannot take an image of 64 x 64"):
        PooledHeads(NETS["UNet"][0](), 3, 1, TARGETS)
