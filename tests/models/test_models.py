"""What every shipped model keeps: shapes, gradients, checkpoints; found by glob."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor, nn

# Networks that read something else than one image, or give something else than classes: see their own tests.
OTHERS = ("mil_", "with_covariates")
LEAVES = {
    path.stem: path
    for path in sorted(Path(__file__).parents[2].joinpath("conf/model").glob("*.yaml"))
    if path.read_text().splitlines()[0].endswith(("segmentation", "classification"))
    and not path.stem.startswith(OTHERS)
}
OUT_CHANNELS = 3
# Narrower than shipped, where the shipped size takes seconds a step; the code under test is the same.
NARROW = {
    "unetr": {"feature_size": 4, "hidden_size": 24, "mlp_dim": 32, "num_heads": 2},
    "swin_unetr": {"feature_size": 12, "depths": [1, 1, 1, 1]},
    "mednext": {"init_filters": 8},
    "basic_unet": {"features": [8, 8, 16, 16, 16, 8]},
    "resnet18": {"block_inplanes": [8, 16, 16, 16]},
    "resnet50": {"block_inplanes": [8, 8, 8, 8]},
    "densenet121": {"init_features": 8, "growth_rate": 4},
    "senet": {"layers": [1, 1, 1, 1]},
    "cbam_resnet": {"channels": [8, 16, 16, 16]},
    "swin_classifier": {"feature_size": 12, "depths": [1, 1, 1, 1]},
    "vit": {"hidden_size": 48, "mlp_dim": 64, "num_layers": 2},
}
SIZES = {
    "swin_unetr": {2: [64, 64], 3: [64, 32, 32]},
    "efficientnet": {3: [32, 32, 32]},
    "basic_unet": {3: [32, 16, 16]},
}
SIZES |= {
    "densenet121": {3: [32, 32, 32]},
    "mednext": {3: [32, 16, 16]},
    "vnet": {3: [32, 32, 16]},
    "unetr": {3: [32, 16, 16]},
}
CASES = [(name, dims) for name in LEAVES for dims in (2, 3)]


def is_segmentation(name: str) -> bool:
    return "segmentation" in LEAVES[name].read_text().splitlines()[0]


def load(name: str) -> Any:
    """A leaf, with the leaves that it stands on."""
    own = OmegaConf.load(Path(__file__).parents[2] / f"conf/model/{name}.yaml")
    base = OmegaConf.create()
    for part in own.pop("defaults", []):
        entries = {"": part} if isinstance(part, str) else dict(part)
        for key, other in entries.items():
            place = str(key).partition("@")[2]
            base = OmegaConf.merge(base, {place: load(other)} if place else load(other))
    return OmegaConf.merge(base, own)


def size_of(name: str, dims: int) -> list[int]:
    return SIZES.get(name, {}).get(dims, [32, 32] if dims == 2 else [16, 16, 16])


def build(name: str, dims: int, **changes: object) -> nn.Module:
    size = size_of(name, dims)
    facts = {"spatial_dims": dims, "in_channels": 2, "patch_size": size, "image_size": size}
    leaf = OmegaConf.merge(load(name), NARROW.get(name, {}), changes)
    root = OmegaConf.create({"dataset": facts, "task": {"out_channels": OUT_CHANNELS}, "model": leaf})
    torch.manual_seed(0)
    return instantiate(root.model, _convert_="all")


def image_for(name: str, dims: int) -> Tensor:
    return torch.randn(2, 2, *size_of(name, dims), generator=torch.Generator().manual_seed(1))


def heads(scores: Tensor | list[Tensor] | tuple[Tensor, ...], image: Tensor) -> list[Tensor]:
    if isinstance(scores, Tensor):
        return list(scores.unbind(1)) if scores.ndim == image.ndim + 1 else [scores]
    return list(scores)


def test_there_are_models() -> None:
    assert {"unet", "dynunet", "vit", "simple_cnn"} <= set(LEAVES)


@pytest.mark.parametrize("name", LEAVES)
def test_first_line_says_what_the_model_is(name: str) -> None:
    first = LEAVES[name].read_text().splitlines()[0]
    assert first.startswith("# ")
    assert first.endswith(("segmentation", "classification"))


@pytest.mark.parametrize(("name", "dims"), CASES)
def test_training_step_reaches_every_parameter(name: str, dims: int) -> None:
    net, image = build(name, dims).train(), image_for(name, dims)
    scores = heads(net(image), image)
    assert all(torch.isfinite(head).all() for head in scores)
    first = (2, OUT_CHANNELS, *image.shape[2:]) if is_segmentation(name) else (2, OUT_CHANNELS)
    assert scores[0].shape == first
    sum(head.square().mean() for head in scores).backward()
    unreached = [key for key, parameter in net.named_parameters() if parameter.grad is None]
    assert unreached == []
    assert all(torch.isfinite(parameter.grad).all() for parameter in net.parameters())


@pytest.mark.parametrize(("name", "dims"), CASES)
def test_inference_gives_one_tensor_and_survives_a_checkpoint(name: str, dims: int) -> None:
    net, image = build(name, dims).eval(), image_for(name, dims)
    file = io.BytesIO()
    torch.save(net.state_dict(), file)
    file.seek(0)
    twin = build(name, dims)
    for parameter in twin.parameters():
        nn.init.zeros_(parameter)
    twin.load_state_dict(torch.load(file, weights_only=True))
    with torch.inference_mode():
        scores, again = net(image), twin.eval()(image)
    expected = (2, OUT_CHANNELS, *image.shape[2:]) if is_segmentation(name) else (2, OUT_CHANNELS)
    assert isinstance(scores, Tensor)
    assert scores.shape == expected
    assert torch.isfinite(scores).all()
    torch.testing.assert_close(again, scores)


@pytest.mark.parametrize("name", LEAVES)
def test_shipped_size_is_buildable(name: str) -> None:
    dims = 3
    size = size_of(name, dims)
    facts = {"spatial_dims": dims, "in_channels": 1, "patch_size": size, "image_size": size}
    root = OmegaConf.create({"dataset": facts, "task": {"out_channels": 2}, "model": load(name)})
    with torch.device("cpu" if name.startswith("swin") else "meta"):  # Swin reads values of a tensor while it is built
        net = instantiate(root.model, _convert_="all")
    assert sum(parameter.numel() for parameter in net.parameters()) > 10_000
