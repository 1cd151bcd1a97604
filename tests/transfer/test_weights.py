"""Weights from elsewhere: what fits is loaded or inflated, and the fate of every tensor is told."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from monai.networks.nets import DenseNet121, DynUNet, ResNet, UNet
from omegaconf import OmegaConf
from safetensors.torch import save_file
from torch import Tensor, nn

from medexp.config import paths
from medexp.errors import UserError
from medexp.models.simple_cnn import SimpleCNN
from medexp.transfer.weights import Report, Weights


def cnn(out_channels: int = 2, in_channels: int = 1, dims: int = 2) -> nn.Module:
    return SimpleCNN(dims, in_channels, out_channels, channels=(4, 6), hidden=5, dropout=0.0)


def loaded(source: nn.Module | dict[str, Any], net: nn.Module, tmp_path: Path, **options: Any) -> Report:
    path = tmp_path / "weights.pt"
    torch.save(source.state_dict() if isinstance(source, nn.Module) else source, path)
    report = Weights(str(path), **options).into(net)
    assert report is not None
    return report


def fates(report: Report) -> dict[str, tuple[str, str]]:
    return {fate.tensor: (fate.outcome, fate.reason) for fate in report.fates if fate.tensor}


def same(one: nn.Module, other: nn.Module, but: str = "nothing") -> None:
    for name, value in other.state_dict().items():
        assert torch.equal(one.state_dict()[name], value) or name.startswith(but), name


def test_without_a_source_the_network_stays_as_it_was_drawn() -> None:
    net = cnn()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    assert Weights().into(net) is None
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_an_equal_network_comes_whole(tmp_path: Path) -> None:
    source, net = cnn(), cnn()
    report = loaded(source, net, tmp_path)
    same(net, source)
    assert {outcome for outcome, _ in fates(report).values()} == {"loaded"}
    assert report.share == 1
    assert report.summary() == (
        f"initialised from {tmp_path / 'weights.pt'}: {len(net.state_dict())} tensors loaded, 0 inflated, 0 left as drawn, "
        "0 of the source unused; 100.0% of the parameters came"
    )


def test_a_head_of_other_classes_stays_as_it_was_drawn_and_is_told(tmp_path: Path) -> None:
    source, net = cnn(3), cnn(2)
    head = net.get_parameter("head.weight").detach().clone()
    report = loaded(source, net, tmp_path)
    same(net, source, but="head")
    assert torch.equal(net.get_parameter("head.weight"), head)
    assert fates(report)["head.weight"] == ("kept", "shapes differ: 3x5 there, 2x5 here")
    assert "2 left as drawn (e.g. head.weight: shapes differ" in report.summary()
    assert 0.5 < report.share < 1


def test_a_head_that_would_fit_can_be_left_out(tmp_path: Path) -> None:
    source, net = cnn(), cnn()
    report = loaded(source, net, tmp_path, leave_out=["^head"])
    assert fates(report)["head.bias"] == ("kept", "named by init.leave_out")
    assert not torch.equal(net.get_parameter("head.weight"), source.get_parameter("head.weight"))


@pytest.mark.parametrize(
    ("wrap", "options"),
    [
        (lambda state: state, {}),
        (lambda state: {f"module.{name}": value for name, value in state.items()}, {}),
        (lambda state: {f"net._orig_mod.{name}": value for name, value in state.items()}, {}),
        (lambda state: {"epoch": 3, "state_dict": {f"net.{name}": value for name, value in state.items()}}, {}),
        (lambda state: {"model": state, "optimizer": {"state": {}}}, {}),
        (lambda state: {"teacher": {}, "student": state}, {}),
        (lambda state: {"teacher": state, "student": {"x": torch.zeros(1)}}, {"entry": "teacher"}),
        (lambda state: {f"backbone.a.{name}": value for name, value in state.items()}, {"prefix": "backbone.a."}),
        (
            lambda state: {name.replace("features", "blocks"): value for name, value in state.items()},
            {"rename": {r"^blocks\.": "features."}},
        ),
    ],
)
def test_names_and_containers_of_other_trainers_are_seen_through(wrap: Any, options: Any, tmp_path: Path) -> None:
    source, net = cnn(), cnn()
    report = loaded(wrap(source.state_dict()), net, tmp_path, **options)
    same(net, source)
    assert report.share == 1


def test_a_name_of_the_network_itself_keeps_what_others_call_a_wrapper(tmp_path: Path) -> None:
    source, net = (UNet(2, 1, 2, channels=(4, 8), strides=(2,)) for _ in range(2))  # all its names begin with `model.`
    report = loaded({f"net.{name}": value for name, value in source.state_dict().items()}, net, tmp_path)
    same(net, source)
    assert report.share == 1


def test_tensors_that_stand_in_two_places_are_told_once(tmp_path: Path) -> None:
    options: Any = {"kernel_size": [3] * 3, "strides": [1, 2, 2], "upsample_kernel_size": [2, 2], "filters": [4, 8, 8]}
    source, net = (DynUNet(2, 1, 3, **options) for _ in range(2))
    report = loaded(source, net, tmp_path)
    same(net, source)
    assert len(report.fates) == len(list(net.named_parameters())) < len(net.state_dict())


def test_what_the_network_does_not_have_is_told(tmp_path: Path) -> None:
    state = cnn().state_dict() | {"projector.weight": torch.zeros(3, 3)}
    (fate,) = [fate for fate in loaded(state, cnn(), tmp_path).fates if fate.outcome == "unused"]
    assert (fate.source, fate.source_shape, fate.reason) == (
        "projector.weight", "3x3", "the network has no such tensor"
    )  # fmt: skip


def test_safetensors_and_bundles_and_run_folders_are_read(tmp_path: Path) -> None:
    source = cnn()
    save_file(source.state_dict(), tmp_path / "a.safetensors")
    places = {"bundle": "models/model.pt", "run": "checkpoints/best.ckpt"}
    for name, place in places.items():
        (tmp_path / name / place).parent.mkdir(parents=True)
        torch.save({"state_dict": source.state_dict()}, tmp_path / name / place)
    for name in ("a.safetensors", "bundle", "run"):
        net = cnn()
        Weights(str(tmp_path / name)).into(net)
        same(net, source)


def grey(images: Tensor, channels: int) -> Tensor:
    return images.expand(-1, channels, *[-1] * (images.ndim - 2))


@pytest.mark.parametrize(("there", "here"), [(3, 1), (1, 3), (1, 2), (3, 4), (4, 2), (3, 6)])
def test_images_that_are_the_same_in_all_channels_are_seen_as_before(there: int, here: int, tmp_path: Path) -> None:
    source, net = cnn(in_channels=there).eval(), cnn(in_channels=here).eval()
    report = loaded(source, net, tmp_path, in_channels=here)
    assert fates(report)["features.0.0.weight"] == ("inflated", f"{there} to {here} input channels")
    images = torch.randn(2, 1, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(net(grey(images, here)), source(grey(images, there)), atol=1e-5, rtol=1e-4)


def test_an_inner_layer_of_another_width_is_not_inflated(tmp_path: Path) -> None:
    source = SimpleCNN(2, 1, 2, channels=(4, 6), hidden=5)
    net = SimpleCNN(2, 1, 2, channels=(8, 6), hidden=5)
    report = loaded(source, net, tmp_path, in_channels=1)
    assert fates(report)["features.1.0.weight"] == ("kept", "shapes differ: 6x4x3x3 there, 6x8x3x3 here")


class Stack(nn.Module):
    """Convolutions without borders, one of them transposed, whose output in a stack of equal slices can be foreseen."""

    def __init__(self, dims: int) -> None:
        super().__init__()
        conv, up = (nn.Conv2d, nn.ConvTranspose2d) if dims == 2 else (nn.Conv3d, nn.ConvTranspose3d)
        self.first, self.up, self.last = conv(1, 4, 3), up(4, 3, 2, stride=2), conv(3, 2, 1)

    def forward(self, image: Tensor) -> Tensor:
        scores: Tensor = self.last(torch.relu(self.up(torch.relu(self.first(image)))))
        return scores


@pytest.mark.parametrize("how", ["repeat", "centre"])
def test_a_stack_of_equal_slices_is_seen_as_one_slice_was(how: Any, tmp_path: Path) -> None:
    flat, deep = Stack(2), Stack(3)
    report = loaded(flat, deep, tmp_path, inflation=how)
    assert [fates(report)[f"{name}.weight"] for name in ("first", "up", "last")] == [("inflated", "2D to 3D")] * 3
    slices = torch.randn(2, 1, 8, 9)
    with torch.no_grad():
        wanted, found = flat(slices), deep(slices[..., None].expand(-1, -1, -1, -1, 7))
    assert found.shape == (*wanted.shape, 10)
    torch.testing.assert_close(found, wanted[..., None].expand_as(found), atol=1e-5, rtol=1e-4)


def test_colour_pictures_become_grey_volumes_at_once(tmp_path: Path) -> None:
    source, net = cnn(in_channels=3), cnn(dims=3)
    report = loaded(source, net, tmp_path, in_channels=1)
    assert fates(report)["features.0.0.weight"] == ("inflated", "2D to 3D, 3 to 1 input channels")
    kernel = source.get_parameter("features.0.0.weight").sum(1, keepdim=True)[..., None] / 3
    torch.testing.assert_close(net.get_parameter("features.0.0.weight"), kernel.expand(-1, -1, -1, -1, 3))


def torchvision_resnet18() -> dict[str, Tensor]:
    """Names and shapes of torchvision's and timm's ResNet-18 (an eighth of the width)."""
    state = {"conv1.weight": torch.randn(8, 3, 7, 7), "fc.weight": torch.randn(1000, 64), "fc.bias": torch.randn(1000)}

    def norm(name: str, width: int) -> None:
        for part in ("weight", "bias", "running_mean", "running_var"):
            state[f"{name}.{part}"] = torch.rand(width)
        state[f"{name}.num_batches_tracked"] = torch.tensor(0)

    norm("bn1", 8)
    before = 8
    for stage, width in enumerate((8, 16, 32, 64), start=1):
        for block in (0, 1):
            name = f"layer{stage}.{block}"
            state[f"{name}.conv1.weight"] = torch.randn(width, before, 3, 3)
            state[f"{name}.conv2.weight"] = torch.randn(width, width, 3, 3)
            norm(f"{name}.bn1", width)
            norm(f"{name}.bn2", width)
            if before != width:
                state[f"{name}.downsample.0.weight"] = torch.randn(width, before, 1, 1)
                norm(f"{name}.downsample.1", width)
            before = width
    return state


@pytest.mark.parametrize("dims", [2, 3])
def test_imagenet_weights_of_a_resnet_come_but_for_its_head(dims: int, tmp_path: Path) -> None:
    net = ResNet(
        "basic", [2, 2, 2, 2], [8, 16, 32, 64], spatial_dims=dims, n_input_channels=1, num_classes=2, conv1_t_size=7,
        bias_downsample=False,
    )  # fmt: skip
    report = loaded(torchvision_resnet18(), net, tmp_path, in_channels=1)
    kept = [name for name, (outcome, _) in fates(report).items() if outcome == "kept"]
    assert kept == ["fc.weight", "fc.bias"]
    assert fates(report)["conv1.weight"][1].endswith("3 to 1 input channels")


@pytest.mark.parametrize("form", [r".\1\2", r".\1.\2"], ids=["of the model", "of the file"])
def test_imagenet_weights_of_a_densenet_come_by_the_rename_of_its_leaf(form: str, tmp_path: Path) -> None:
    options: Any = {"init_features": 4, "growth_rate": 2, "block_config": (2, 2)}
    source, net = DenseNet121(2, 3, 10, **options), DenseNet121(2, 1, 2, **options)
    state = {re.sub(r"\.layers\.(norm|conv)(\d)", form, name): value for name, value in source.state_dict().items()}
    state = {name.replace("class_layers.out", "classifier"): value for name, value in state.items()}
    rename = OmegaConf.load(paths.options("init")["imagenet_densenet121"]).rename
    report = loaded(state, net, tmp_path, in_channels=1, rename=dict(rename))
    kept = [name for name, (outcome, _) in fates(report).items() if outcome == "kept"]
    assert kept == ["class_layers.out.weight", "class_layers.out.bias"]


def test_a_package_that_is_there_is_asked_and_one_that_is_not_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    state = {f"net.{name}": value for name, value in cnn().state_dict().items()}
    enum = SimpleNamespace(DEFAULT=SimpleNamespace(get_state_dict=lambda progress: state))
    models = ModuleType("torchvision.models")
    models.get_model_weights = {"small": enum}.__getitem__  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torchvision", ModuleType("torchvision"))
    monkeypatch.setitem(sys.modules, "torchvision.models", models)
    report = Weights("torchvision:small").into(cnn())
    assert report is not None
    assert (report.origin, report.share) == ("torchvision:small", 1)
    with pytest.raises(UserError, match="torchvision gives no weights for 'large'"):
        Weights("torchvision:large")
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(
        UserError, match="timm:resnet18 needs the package timm, which is not installed: pip install timm"
    ):
        Weights("timm:resnet18")


class Opens:
    def __reduce__(self) -> Any:
        return (open, ("opened", "w"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "does not exist; allowed: a run folder, a .pt"),
        ({"state_dict": Opens()}, "holds no weights that can be read safely"),
        ([1, 2], "holds a list, no tensors by name"),
        ({"epoch": 3}, "holds no tensors; a run folder"),
        ({"a": {"x": torch.zeros(1)}, "b": {"x": torch.zeros(1)}}, "holds several networks: a, b; give init.entry="),
    ],
)
def test_a_source_without_weights_is_one_line_and_nothing_runs(content: Any, said: str, tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    if content is not None:
        torch.save(content, path)
    with pytest.raises(UserError) as caught:
        Weights(str(path))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not Path("opened").exists()


def test_a_folder_that_is_no_source_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"neither a run folder nor a bundle with models/model\.pt"):
        Weights(str(tmp_path))
    (tmp_path / "config.yaml").write_text("a: 1")
    with pytest.raises(UserError, match=r"has no checkpoints/best\.ckpt; choose init\.checkpoint=best or last"):
        Weights(str(tmp_path))
    (tmp_path / "a.safetensors").write_bytes(b"nothing")
    with pytest.raises(UserError, match="is no safetensors file"):
        Weights(str(tmp_path / "a.safetensors"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"prefix": "encoder."},
            "init.prefix: no tensor begins with 'encoder.'; they begin with dense, features, head",
        ),
        ({"rename": {"(": "x"}}, r"init.rename: '\(' is no regular expression"),
        ({"leave_out": ["["]}, r"init.leave_out: '\[' is no regular expression"),
        ({"entry": "ema"}, "init.entry: .* has no weights 'ema'; there are: none"),
        ({"leave_out": ["."]}, "nothing of .* fits this network"),
    ],
)
def test_options_that_match_nothing_are_refused(options: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        loaded(cnn(), cnn(), tmp_path, **options)


def test_options_without_a_source_are_refused() -> None:
    with pytest.raises(UserError, match=r"init\.leave_out: is of a source of weights, and there is none"):
        Weights(leave_out=["head"])


def test_where_nothing_fits_the_reason_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"names differ: weight there, features\.0\.0\.weight here.*give init\.prefix"):
        loaded(nn.Linear(2, 2), cnn(), tmp_path)
    with pytest.raises(UserError, match="shapes differ: 3x3 there, 2x2 here"):
        loaded(nn.Linear(3, 3), nn.Linear(2, 2), tmp_path)
