from __future__ import annotations

from functools import partial
from typing import Any, Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.networks.nets import DynUNet, ResNet, UNet
from torch import nn

from medexp.errors import UserError
from medexp.models.fusion import Fusion
from medexp.models.simple_cnn import SimpleCNN

Fuse = Literal["mean", "concatenate", "attention"]
FUSES: tuple[Fuse, ...] = ("mean", "concatenate", "attention")
CNN = partial(SimpleCNN, 2, channels=(4, 4), hidden=8, dropout=0.0)
UNET = partial(UNet, 2, channels=(4, 8), strides=(2,))


def fusion(fuse: Fuse = "mean", net: Any = CNN, modalities: int = 3, **options: Any) -> Fusion:
    torch.manual_seed(0)
    return Fusion(net, modalities, 2, features=6, fuse=fuse, **options)


@pytest.mark.parametrize("fuse", FUSES)
@pytest.mark.parametrize(("net", "spatial"), [(CNN, ()), (UNET, (16, 16))], ids=["an image", "a voxel"])
def test_scores_are_a_value_an_image_or_a_voxel(fuse: Fuse, net: Any, spatial: tuple[int, ...]) -> None:
    assert fusion(fuse, net)(torch.randn(2, 3, 16, 16)).shape == (2, 2, *spatial)


@pytest.mark.parametrize("fuse", FUSES)
@pytest.mark.parametrize("net", [CNN, UNET], ids=["an image", "a voxel"])
@settings(max_examples=15, deadline=None)
@given(kept=st.lists(st.booleans(), min_size=6, max_size=6).filter(lambda bits: any(bits[:3]) and any(bits[3:])))
def test_what_stands_in_a_missing_modality_changes_nothing(fuse: Fuse, net: Any, kept: list[bool]) -> None:
    model, present = fusion(fuse, net).eval(), torch.tensor(kept).reshape(2, 3).float()
    image, noise = torch.randn(2, 2, 3, 16, 16).unbind()
    mask = present[..., None, None] > 0
    with torch.no_grad():
        found = model(image, present)
        torch.testing.assert_close(model(torch.where(mask, image, noise), present), found)
    assert torch.isfinite(found).all()


@pytest.mark.parametrize("fuse", FUSES)
def test_all_modalities_present_is_as_if_nothing_was_said(fuse: Fuse) -> None:
    model, image = fusion(fuse).eval(), torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(model(image, torch.ones(2, 3)), model(image))


def test_the_mean_is_of_the_modalities_that_are_there() -> None:
    model, image = fusion().eval(), torch.randn(1, 3, 16, 16)
    features = [net(image[:, place, None]).relu() for place, net in enumerate(model.nets)]
    wanted = model.scores((features[0] + features[2]) / 2)
    torch.testing.assert_close(model(image, torch.tensor([[1.0, 0.0, 1.0]])), wanted)


def test_attention_adds_up_to_one_and_is_nothing_for_what_is_missing() -> None:
    model = fusion("attention")
    there = torch.tensor([[True, False, True], [True, True, True]])[..., None]
    weights = model.weights(torch.randn(2, 3, 6), there)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(2, 1))
    assert weights[0, 1] == 0
    assert (weights[there] > 0).all()


def test_a_missing_modality_touches_no_batch_norm() -> None:
    model = fusion().train()
    norm = next(module for module in model.nets[1].modules() if isinstance(module, nn.BatchNorm2d))
    image = torch.randn(4, 3, 16, 16)
    present = torch.tensor([[1.0, 1, 1], [1, 1, 1], [1, 0, 1], [1, 0, 1]])
    image[2:, 1] = 100.0
    model(image, present)
    alone = fusion().train()
    alone.nets[1](image[:2, 1, None])
    other = next(module for module in alone.nets[1].modules() if isinstance(module, nn.BatchNorm2d))
    torch.testing.assert_close(norm.running_mean, other.running_mean)


def test_every_parameter_has_a_gradient_where_a_whole_batch_lacks_a_modality() -> None:
    model = fusion("concatenate").train()  # processes that train together wait for each
    model(torch.randn(3, 3, 16, 16), torch.tensor([[1.0, 0, 1]] * 3)).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert all(float(parameter.grad.abs().sum()) == 0 for parameter in model.nets[1].parameters())


def test_one_case_with_a_modality_trains_a_net_that_ends_in_one_pixel() -> None:
    net = partial(ResNet, "basic", [1, 1, 1, 1], [4, 4, 4, 4], spatial_dims=2)
    model = fusion(net=net, modalities=2).train()
    assert model(torch.randn(3, 2, 16, 16), torch.tensor([[1.0, 0], [1, 1], [1, 0]])).shape == (3, 2)


def test_heads_of_deep_supervision_are_fused_one_by_one() -> None:
    options: dict[str, Any] = {"kernel_size": [3, 3, 3], "strides": [1, 2, 2], "upsample_kernel_size": [2, 2]}
    net = partial(DynUNet, 2, **options, filters=[4, 8, 8], deep_supervision=True, deep_supr_num=1)
    model = fusion("attention", net, modalities=2)
    assert model.train()(torch.randn(2, 2, 16, 16), torch.tensor([[1.0, 0], [1, 1]])).shape == (2, 2, 2, 16, 16)
    assert model.eval()(torch.randn(2, 2, 16, 16)).shape == (2, 2, 16, 16)


def test_mistakes_are_named() -> None:
    with pytest.raises(UserError, match="networks for 3 modalities, got 2"):
        fusion()(torch.randn(1, 2, 16, 16))
    with pytest.raises(UserError, match=r"model\.net: Linear takes none of in_channels"):
        Fusion(nn.Linear, 2, 2)
