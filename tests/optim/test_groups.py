from __future__ import annotations

import torch
from torch import nn

from medexp.models.vit import ViT
from medexp.optim.groups import parameter_groups


def names(module: nn.Module, group: dict[str, object]) -> set[str]:
    wanted = {id(parameter) for parameter in group["params"]}
    return {name for name, parameter in module.named_parameters() if id(parameter) in wanted}


def test_decay_spares_biases_norms_and_embeddings() -> None:
    net = nn.ModuleDict(
        {"conv": nn.Conv3d(1, 2, 3), "norm": nn.InstanceNorm3d(2, affine=True), "layer": nn.LayerNorm([2, 3])}
        | {"words": nn.Embedding(5, 2), "dense": nn.Linear(2, 2), "act": nn.PReLU()}
    )
    decayed, spared = parameter_groups(net, weight_decay=0.1)
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)
    assert names(net, decayed) == {"conv.weight", "dense.weight"}
    assert len(decayed["params"]) + len(spared["params"]) == len(list(net.parameters()))


def test_position_tables_and_class_tokens_are_spared() -> None:
    net = ViT(2, 1, 2, img_size=16, patch_size=8, hidden_size=12, mlp_dim=16, num_layers=1, num_heads=2)
    _, spared = parameter_groups(net, weight_decay=0.1)
    assert {"net.cls_token", "net.patch_embedding.position_embeddings"} <= names(net, spared)


def test_frozen_parameters_and_empty_groups_are_left_out() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2, bias=False))
    net[0].requires_grad_(False)
    (group,) = parameter_groups(net, weight_decay=0.1)
    assert group["params"] == [net[1].weight]
    net[1].requires_grad_(False)
    assert parameter_groups(net, weight_decay=0.1) == []


def test_shared_parameter_is_optimized_once() -> None:
    net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    net[1].weight = net[0].weight
    (group,) = parameter_groups(net, weight_decay=0.0)
    assert len(group["params"]) == 1
    torch.optim.SGD([group], lr=0.1)
