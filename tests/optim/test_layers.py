"""Layers of a network in order: what freezing and layer-wise rates count in."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from monai.networks.nets import DynUNet, ResNet, UNet
from torch import nn

from medexp.config import paths
from medexp.config.compose import compose, resolve
from medexp.config.trial import on_meta
from medexp.errors import UserError
from medexp.models.simple_cnn import SimpleCNN
from medexp.models.vit import ViT
from medexp.optim.groups import parameter_groups
from medexp.optim.layers import encoder, groups_by_layer, layers, rates
from medexp.optim.schedule import Schedule


def names(net: nn.Module) -> list[str]:
    return [layer.name for layer in layers(net)]


def test_a_classifier_ends_with_its_head_and_all_before_is_its_encoder() -> None:
    net = ResNet("basic", [1, 2, 1, 1], [4, 8, 8, 8], spatial_dims=2, n_input_channels=1, num_classes=2)
    assert names(net) == ["conv1", "layer1.0", "layer2.0", "layer2.1", "layer3.0", "layer4.0", "fc"]
    assert encoder(layers(net)) == 6
    assert [type(one).__name__ for one in layers(net)[0].modules] == ["Conv2d", "BatchNorm2d"]  # bn1 goes with conv1


def test_the_encoder_of_a_u_net_ends_where_it_enlarges() -> None:
    net = UNet(2, 1, 3, channels=(4, 8, 16), strides=(2, 2), num_res_units=1)
    found = layers(net)
    assert [layer.name for layer in found[: encoder(found)]] == [
        "model.0",
        "model.1.submodule.0",
        "model.1.submodule.1.submodule",
    ]
    options: Any = {"kernel_size": [3] * 3, "strides": [1, 2, 2], "upsample_kernel_size": [2, 2], "filters": [4, 8, 8]}
    found = layers(DynUNet(2, 1, 3, **options, deep_supervision=True))
    assert [layer.name for layer in found[-2:]] == ["upsamples.1", "output_block.conv.conv"]
    assert len(found[-1].parameters) == 4  # the head, and the one of deep supervision
    assert [layer.name for layer in found[: encoder(found)]] == ["input_block", "downsamples.0", "bottleneck"]


def test_parameters_between_the_layers_are_a_layer_of_their_own() -> None:
    net = ViT(2, 1, 2, img_size=16, patch_size=8, hidden_size=12, mlp_dim=16, num_layers=2, num_heads=2)
    assert names(net) == [
        "net", "net.patch_embedding", "net.blocks.0", "net.blocks.1", "net.classification_head"
    ]  # fmt: skip
    assert [tuple(p.shape) for p in layers(net)[0].parameters] == [(1, 1, 12)]  # the class token


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize("model", paths.options("model"))
def test_every_parameter_of_a_shipped_network_is_in_one_layer(model: str) -> None:
    line = paths.summary(paths.options("model")[model])
    if "segmentation" in line:
        host = ["experiment=segmentation/phantom", "dataset.patch_size=[64,64,64]"]
    elif "classification" in line:
        host = ["experiment=classification/phantom_presence_2d"]
    else:
        pytest.skip("of a task of its own")
    net = on_meta(resolve(compose([*host, f"model={model}", "run_dir=run"]))["model"])
    found = layers(net)
    placed = [id(parameter) for layer in found for parameter in layer.parameters]
    assert sorted(placed) == sorted(id(parameter) for parameter in net.parameters())
    assert 0 < encoder(found) < len(found)
    assert len({layer.name for layer in found}) == len(found)


def test_a_network_without_parameters_is_refused() -> None:
    with pytest.raises(UserError, match="Identity has no parameters"):
        layers(nn.Identity())


def test_rates_fall_from_the_head_to_the_image() -> None:
    net = SimpleCNN(2, 1, 2, channels=(4, 6), hidden=5)
    own = rates(net, 0.1, 0.5)
    found = {name: own[id(parameter)] for name, parameter in net.named_parameters() if name.endswith("weight")}
    assert found == pytest.approx(
        {"features.0.0.weight": 0.0125, "features.0.1.weight": 0.0125, "features.1.0.weight": 0.025}
        | {"features.1.1.weight": 0.025, "dense.1.weight": 0.05, "head.weight": 0.1}
    )


def test_groups_by_rate_hold_every_parameter_once_highest_first() -> None:
    net = SimpleCNN(2, 1, 2, channels=(4, 6), hidden=5)
    groups = parameter_groups(net, 0.3, rates(net, 0.1, 0.5))
    assert [group["lr"] for group in groups] == pytest.approx([0.1, 0.1, 0.05, 0.05, 0.025, 0.025, 0.0125, 0.0125])
    assert [group["weight_decay"] for group in groups] == [0.3, 0.0] * 4
    held = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(held) == sorted(id(parameter) for parameter in net.parameters())


def test_what_is_around_the_network_learns_at_the_full_rate() -> None:
    module = nn.ModuleDict({"net": SimpleCNN(2, 1, 2, channels=(4,), hidden=3), "loss": nn.Linear(2, 2, bias=False)})
    groups = groups_by_layer(module, module["net"], {"lr": 0.1, "weight_decay": 0.3}, 0.5)
    (rate,) = (group["lr"] for group in groups if any(p is module["loss"].weight for p in group["params"]))
    assert rate == 0.1
    assert len({group["lr"] for group in groups}) == 3
    assert [set(group) for group in groups_by_layer(module, module["net"], {"lr": 0.1}, 1.0)] == [
        {"params", "weight_decay", "matrices"}
    ] * 2


@pytest.mark.parametrize(
    ("optimizer", "share", "said"),
    [({"lr": 0.1}, 0.0, "task.layer_decay: 0.0 is not above 0 and at most 1"), ({}, 0.5, "is a share of optimizer.lr")],
)
def test_shares_of_nothing_are_refused(optimizer: Any, share: float, said: str) -> None:
    net = SimpleCNN(2, 1, 2)
    with pytest.raises(UserError, match=said):
        groups_by_layer(net, net, optimizer, share)


def test_one_cycle_gives_each_layer_its_share_of_the_peak() -> None:
    net = SimpleCNN(2, 1, 2, channels=(4,), hidden=3)
    optimizer = torch.optim.SGD(groups_by_layer(net, net, {"lr": 0.1}, 0.5))
    one_cycle = partial(torch.optim.lr_scheduler.OneCycleLR, max_lr=0.1, cycle_momentum=False)
    Schedule(one_cycle, epochs=10, horizon="total_steps").configure(optimizer, "val/loss", "min")
    peaks = [group["max_lr"] for group in optimizer.param_groups]
    assert peaks == pytest.approx([0.1, 0.1, 0.05, 0.05, 0.025, 0.025])
