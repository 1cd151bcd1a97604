"""Attention as maps: where it is found, that it is what the network used, and that nothing of the asking stays behind."""

from __future__ import annotations

import pytest
import torch
from monai.networks.nets import UNETR, AttentionUnet
from torch import nn

from medexp.models.attention_maps import attention_maps, over_tokens
from medexp.models.cbam import CBAM, CBAMResNet
from medexp.models.simple_cnn import SimpleCNN
from medexp.models.vit import ViT


def vit(dims: int = 2) -> ViT:
    return ViT(dims, 1, 3, [16] * dims, 4, hidden_size=24, mlp_dim=32, num_layers=2, num_heads=3)


def test_gates_of_an_attention_unet_are_a_map_a_level() -> None:
    torch.manual_seed(0)
    net = AttentionUnet(2, 1, 2, channels=(4, 8, 16), strides=(2, 2))
    maps = attention_maps(net, torch.randn(2, 1, 16, 24))
    assert sorted(tuple(found.shape) for found in maps.values()) == [(2, 1, 8, 12), (2, 1, 16, 24)]
    assert all(0 <= found.min() < found.max() <= 1 for found in maps.values())
    names = dict(net.named_modules())
    assert all(type(names[name]).__name__ == "AttentionBlock" for name in maps)


def test_what_a_gate_shuts_does_not_pass() -> None:
    """The map is what the skip connection is multiplied by."""
    net = AttentionUnet(2, 1, 2, channels=(4, 8), strides=(2,))
    gate = next(module for module in net.modules() if type(module).__name__ == "AttentionBlock")
    seen = []
    gate.register_forward_hook(lambda _, __, given, output: seen.append((given["x"], output)), with_kwargs=True)
    (found,) = attention_maps(net, torch.randn(1, 1, 8, 8)).values()
    torch.testing.assert_close(seen[0][0] * found, seen[0][1])


@pytest.mark.parametrize("dims", [2, 3])
def test_cbam_gives_its_places_at_the_size_of_the_features(dims: int) -> None:
    torch.manual_seed(0)
    net = CBAMResNet(dims, 1, 2, layers=[1, 1, 1, 1], channels=[4, 8, 8, 8])
    maps = attention_maps(net, torch.randn(2, 1, *[32] * dims))
    assert [tuple(found.shape) for found in maps.values()] == [(2, 1, *[size] * dims) for size in (16, 8, 4, 2)]
    assert list(maps) == [f"layer{level}.0.bn2.1.spatial" for level in (1, 2, 3, 4)]


@pytest.mark.parametrize("dims", [2, 3])
def test_the_class_token_of_a_vit_attends_to_patches(dims: int) -> None:
    torch.manual_seed(0)
    maps = attention_maps(vit(dims), torch.randn(2, 1, *[16] * dims))
    assert [tuple(found.shape) for found in maps.values()] == [(2, 3, *[4] * dims)] * 2
    assert all((found.flatten(2).sum(2) < 1).all() for found in maps.values())  # it attends to itself as well


def test_tokens_without_a_class_token_are_averaged() -> None:
    torch.manual_seed(0)
    net = UNETR(1, 2, [32, 16], feature_size=4, hidden_size=24, mlp_dim=32, num_heads=2, spatial_dims=2)
    found = next(iter(attention_maps(net, torch.randn(1, 1, 32, 16)).values()))
    assert found.shape == (1, 2, 2, 1)
    torch.testing.assert_close(found.flatten(2).sum(2), torch.ones(1, 2))


def test_patches_lie_where_they_were_cut() -> None:
    attention = torch.zeros(1, 1, 9, 9)
    attention[..., 0, 1 + 5] = 1.0  # the class token looks at patch 5 of 2 x 4: row 1, column 1
    assert over_tokens(attention, (8, 16))[0, 0].nonzero().tolist() == [[1, 1]]
    assert over_tokens(torch.full((1, 1, 7, 7), 1 / 7), (8, 8)).shape == (1, 1, 7)


def test_asking_leaves_the_network_as_it_was() -> None:
    torch.manual_seed(0)
    net, image = vit().train(), torch.randn(1, 1, 16, 16)
    before = net.eval()(image)
    net.train()
    attention_maps(net, image)
    assert net.training
    blocks = [module for module in net.modules() if type(module).__name__ == "SABlock"]
    assert all(not block.save_attn and block.att_mat.numel() == 0 for block in blocks)
    assert not any(module._forward_hooks for module in net.modules())
    torch.testing.assert_close(net.eval()(image), before)


def test_a_network_without_attention_has_no_maps() -> None:
    assert attention_maps(SimpleCNN(2, 1, 2, channels=(4,), hidden=4), torch.randn(1, 1, 8, 8)) == {}


def test_a_network_may_be_called_through_something_else() -> None:
    calls = []
    net = vit()

    def forward(image: torch.Tensor) -> torch.Tensor:
        calls.append(image.shape)
        return net(image)

    assert attention_maps(net, torch.randn(1, 1, 16, 16), forward)
    assert calls == [(1, 1, 16, 16)]


@pytest.mark.parametrize("dims", [2, 3])
def test_cbam_weighs_channels_and_places(dims: int) -> None:
    torch.manual_seed(0)
    block, features = CBAM(dims, 8).eval(), torch.randn(2, 8, *[6] * dims)
    out = block(features)
    channel = block.channel(features)
    assert channel.shape == (2, 8, *[1] * dims)
    torch.testing.assert_close(out, features * channel * block.spatial(features * channel))
    assert (out.abs() <= features.abs()).all()  # weights never exceed 1
    shut = nn.init.constant_(block.channel.mlp[2].bias, -1e4)  # type: ignore[arg-type]
    assert shut is block.channel.mlp[2].bias
    assert block(features).abs().max() == 0
