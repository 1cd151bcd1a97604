"""Maps of classes: they point where a constructed network looks, and any shipped classifier has a layer to draw them from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor, nn

from medexp.errors import UserError
from medexp.inferers.class_maps import METHODS, ClassMaps
from medexp.inferers.map_layers import layers

CONF = Path(__file__).parents[2] / "conf/model"
CLASSIFIERS = [
    path.stem
    for path in sorted(CONF.glob("*.yaml"))
    if "classification" in (line := path.read_text().splitlines()[0]) and "sequence" not in line and "bags" not in line
]


class Bright(nn.Module):
    """Class 0 is how much is bright, class 1 how much is dark: mean of a grid and one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 1)
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.AvgPool2d(2)
        self.last = nn.Linear(2, 2)
        with torch.no_grad():
            self.conv.weight.copy_(torch.tensor([1.0, -1.0]).view(2, 1, 1, 1))
            self.conv.bias.zero_()
            self.last.weight.copy_(torch.eye(2))
            self.last.bias.zero_()

    def forward(self, image: Tensor) -> Tensor:
        return self.last(self.pool(self.relu(self.conv(image))).flatten(2).mean(dim=2))


def a_scan() -> Tensor:
    """Bright at rows 4 and 5 of columns 8 and 9, dark at rows 12 and 13 of columns 2 and 3."""
    image = torch.zeros(1, 1, 16, 16)
    image[0, 0, 4:6, 8:10], image[0, 0, 12:14, 2:4] = 1.0, -1.0
    return image


def shipped(name: str, channels: int = 1) -> tuple[nn.Module, Tensor]:
    cfg: dict[str, Any] = OmegaConf.to_container(OmegaConf.load(CONF / f"{name}.yaml"), resolve=False)  # type: ignore[assignment]
    for entry in cfg.pop("defaults", []):
        if isinstance(entry, dict):
            cfg["net"] = {**shipped_node(next(iter(entry.values()))), **cfg["net"]}
        else:
            cfg = {**shipped_node(entry), **cfg}
    facts = {"spatial_dims": 2, "in_channels": channels, "image_size": [48, 64], "covariates": ["age"]}
    root = OmegaConf.create({"dataset": facts, "task": {"out_channels": 3}, "model": cfg})
    torch.manual_seed(0)
    net = instantiate(root.model, _convert_="all").eval()
    return net, torch.randn(1, channels, 48, 64)


def shipped_node(name: str) -> dict[str, Any]:
    node: dict[str, Any] = OmegaConf.to_container(OmegaConf.load(CONF / f"{name}.yaml"), resolve=False)  # type: ignore[assignment]
    return node


@pytest.mark.parametrize("method", [method for method in METHODS if method != "attention"])
@pytest.mark.parametrize(("output", "place"), [(0, (4, 8)), (1, (12, 2))])
def test_a_map_points_where_the_network_looks(method: str, output: int, place: tuple[int, int]) -> None:
    net = Bright().eval()
    found = ClassMaps(method, layers(net, net, a_scan()))(net, net, a_scan(), output)
    assert found.shape == (16, 16)
    assert (found.min(), found.max()) == (0, 1)
    row, column = divmod(int(found.argmax()), 16)
    assert row - place[0] in (0, 1)
    assert column - place[1] in (0, 1)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_every_shipped_classifier_has_a_layer_that_all_of_the_image_goes_through(name: str) -> None:
    net, image = shipped(name, channels=2 if "fusion" in name else 1)
    found = layers(net, net, image)
    assert len(found) == (2 if "fusion" in name else 1)
    drawn = ClassMaps("grad_cam_pp", found)(net, net, image, 1)
    assert drawn.shape == (48, 64)
    assert torch.isfinite(drawn).all()
    assert drawn.max() in (0, 1)  # an untrained network may see the class nowhere
    assert not net.training
    assert not any(module._forward_hooks for module in net.modules())


def test_tokens_of_a_transformer_are_a_grid_without_the_class_token() -> None:
    net, image = shipped("vit")
    (layer,) = layers(net, net, image)
    assert (layer.tokens, layer.leading, layer.grid) == (True, 1, (6, 8))
    tokens = torch.arange(49.0).view(1, 49, 1)
    assert torch.equal(layer.of(tokens)[0, 0], torch.arange(1.0, 49).view(6, 8))
    assert torch.equal(layer.put(layer.of(tokens), tokens), tokens)
    assert layer.name == "net.blocks.10"  # of the twelfth block only the class token is read, which no patch reaches


def test_a_layer_can_be_named_and_a_wrong_name_is_answered_with_those_there_are() -> None:
    net = Bright().eval()
    assert [layer.grid for layer in layers(net, net, a_scan(), ["conv"])] == [(16, 16)]
    with pytest.raises(UserError, match=r"--layer: 'con' gives no grid.*did you mean 'conv'"):
        layers(net, net, a_scan(), ["con"])


def test_maps_of_several_layers_are_added_up() -> None:
    net = Bright().eval()
    two = ClassMaps("grad_cam", layers(net, net, a_scan(), ["conv", "pool"]))(net, net, a_scan(), 0)
    assert two[4, 8] == two.max()


def test_cam_is_refused_where_no_single_linear_layer_follows_the_mean() -> None:
    net, image = shipped("simple_cnn")
    with pytest.raises(UserError, match="cam, but SimpleCNN does not end in the mean"):
        ClassMaps("cam", layers(net, net, image))(net, net, image, 0)


def test_cam_of_a_residual_network_is_its_linear_layer_at_every_place() -> None:
    net, image = shipped("resnet18_narrow")
    (layer,) = layers(net, net, image)
    kept: list[Tensor] = []
    handle = net.get_submodule(layer.name).register_forward_hook(lambda *a: kept.append(a[2]))
    scores = net(image)
    handle.remove()
    wanted = torch.einsum("chw,c->hw", kept[0][0], net.fc.weight[2])
    torch.testing.assert_close(wanted.mean() + net.fc.bias[2], scores[0, 2])
    found = ClassMaps("cam", [layer])(net, net, image, 2)
    wanted = nn.functional.interpolate(wanted[None, None], (48, 64), mode="bilinear")[0, 0].detach()
    torch.testing.assert_close(found, (wanted - wanted.min()) / (wanted.max() - wanted.min()), rtol=1e-3, atol=1e-4)


def test_a_network_that_sees_no_place_is_refused() -> None:
    flat = nn.Sequential(nn.Flatten(), nn.Linear(256, 2)).eval()
    with pytest.raises(UserError, match="no layers of a grid"):
        layers(flat, flat, a_scan())


def test_an_unknown_method_is_named() -> None:
    with pytest.raises(UserError, match=r"--method: 'gradcam'.*grad_cam"):
        ClassMaps("gradcam", [])
