"""What comes in parts is what comes at once."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.inferers import Inferer, SimpleInferer, SliceInferer, SlidingWindowInferer
from torch import Tensor, nn

from medexp.errors import UserError
from medexp.inferers import parts as module
from medexp.inferers.flips import FlipEnsemble
from medexp.inferers.foreground import ForegroundBox
from medexp.inferers.parts import parts
from medexp.inferers.whole import WholeImage


def network(spatial_dims: int, classes: int = 3) -> nn.Module:
    torch.manual_seed(0)
    conv = nn.Conv2d if spatial_dims == 2 else nn.Conv3d
    return nn.Sequential(conv(2, 4, 3, padding=1), nn.ReLU(), conv(4, classes, 3, padding=1)).eval()


def put_together(inferer: Inferer, inputs: Tensor, net: nn.Module) -> Tensor:
    """All parts as one tensor; they come in order, image after image, without a gap."""
    images: list[list[Tensor]] = [[] for _ in inputs]
    seen: list[tuple[int, int]] = []
    for place, first, scores in parts(inferer, inputs, net):
        assert first == sum(part.shape[1] for part in images[place])
        seen.append((place, first))
        images[place].append(scores.clone())
        scores.fill_(float("nan"))  # what is handed over is the receiver's
    assert seen == sorted(seen)
    return torch.stack([torch.cat(image, dim=1) for image in images])


@settings(max_examples=60, deadline=None)
@given(st.data())
@torch.no_grad()
def test_windows_are_put_together_as_monai_does_to_the_last_bit(data: st.DataObject) -> None:
    dims = data.draw(st.sampled_from([2, 3]))
    size = [data.draw(st.integers(3, 14)) for _ in range(dims)]
    inferer = SlidingWindowInferer(
        roi_size=data.draw(st.sampled_from([5, [4, 7, 6][:dims], [6, -1, 3][:dims]])),
        sw_batch_size=data.draw(st.integers(2, 5)),
        overlap=data.draw(st.sampled_from([0.0, 0.25, 0.5, 0.8, [0.5, 0.1, 0.7][:dims]])),
        mode=data.draw(st.sampled_from(["gaussian", "constant"])),
        padding_mode=data.draw(st.sampled_from(["replicate", "constant"])),
    )
    inputs = torch.randn(data.draw(st.integers(1, 2)), 2, *size, generator=torch.Generator().manual_seed(1))
    net = network(dims)
    assert torch.equal(put_together(inferer, inputs, net), inferer(inputs, net))


@pytest.mark.parametrize("at_once", [1, 500, 2**25])
@torch.no_grad()
def test_thickness_changes_nothing(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(module, "AT_ONCE", at_once)
    inputs, net = torch.randn(1, 2, 21, 12, 10), network(3)
    inferer = SlidingWindowInferer(8, 4, 0.5, "gaussian")
    thick = [scores.shape[1] for _, _, scores in parts(inferer, inputs, net)]
    assert max(thick) * 3 * 12 * 10 <= max(at_once, 3 * 12 * 10)
    assert torch.equal(put_together(inferer, inputs, net), inferer(inputs, net))


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float32])
@torch.no_grad()
def test_autocast_is_that_of_the_caller(kind: torch.dtype) -> None:
    inputs, net, inferer = torch.randn(1, 2, 12, 9, 9), network(3), SlidingWindowInferer(8, 4, 0.5, "gaussian")
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=kind == torch.bfloat16):
        whole, together = inferer(inputs, net), put_together(inferer, inputs, net)
    assert torch.equal(together, whole)
    assert torch.equal(whole, inferer(inputs, net)) == (kind == torch.float32)


@pytest.mark.parametrize("around", [lambda inner: FlipEnsemble(inner), lambda inner: ForegroundBox(inner, 0.5, 1)])
@pytest.mark.parametrize("inner", [SlidingWindowInferer(6, 2, 0.5, "gaussian"), WholeImage(4), SimpleInferer()])
@torch.no_grad()
def test_inferers_around_others_give_the_same_in_parts(around, inner: Inferer) -> None:
    inputs, net, inferer = torch.zeros(2, 2, 16, 12, 10), network(3), around(inner)
    inputs[0, 0, 3:9, 4:6, 5:9] = torch.rand(6, 2, 4) + 1
    inputs[1, 1, 5:14, 2:7, 4:8] = torch.rand(9, 5, 4) + 1
    torch.testing.assert_close(put_together(inferer, inputs, net), inferer(inputs, net))


@torch.no_grad()
def test_windows_are_mirrored_one_by_one_and_the_box_is_cut_once() -> None:
    inputs, net = torch.zeros(1, 2, 20, 12, 12), network(3)
    inputs[:, :, 6:15, 2:9, 3:8] = torch.rand(9, 7, 5) + 1
    windows = SlidingWindowInferer(6, 2, 0.5, "gaussian")
    inferer = FlipEnsemble(ForegroundBox(windows, 0.5, 0), axes=[0, 2])

    def mean(image: Tensor) -> Tensor:
        return torch.stack([net(image.flip(dims)).flip(dims) for dims in ([], [2], [4], [2, 4])]).mean(0)

    expected = ForegroundBox(windows, 0.5, 0)(inputs, mean)
    torch.testing.assert_close(put_together(inferer, inputs, net), expected)
    torch.testing.assert_close(inferer(inputs, net), expected)


@torch.no_grad()
def test_other_inferers_come_whole_image_by_image() -> None:
    inputs, net = torch.randn(2, 2, 8, 8, 6), network(2)
    slices = SliceInferer(spatial_dim=2, roi_size=(8, 8))
    found = list(parts(slices, inputs, net))
    assert [(place, first) for place, first, _ in found] == [(0, 0), (1, 0)]
    assert torch.equal(torch.stack([scores for _, _, scores in found]), slices(inputs, net))


@pytest.mark.parametrize("bad", [lambda image: image.mean((2, 3)), lambda image: [image], lambda image: image[..., :3]])
def test_a_network_without_a_value_a_voxel_is_named(bad) -> None:
    with pytest.raises(UserError, match=r"turned a window of \(4, 4\) into .* use inferer=simple"):
        list(parts(SlidingWindowInferer(4, 2), torch.zeros(1, 2, 8, 8), bad))
    with pytest.raises(UserError, match="a value a voxel"):
        list(parts(SlidingWindowInferer([4, 4], 2), torch.zeros(1, 2, 8, 8), bad))


@torch.no_grad()
def test_no_more_is_held_than_windows_are_thick(monkeypatch: pytest.MonkeyPatch) -> None:
    largest = []
    true = torch.zeros

    def zeros(*size, **options):
        made = true(*size, **options)
        largest.append(made.numel())
        return made

    monkeypatch.setattr(module, "AT_ONCE", 1)
    monkeypatch.setattr(torch, "zeros", zeros)
    inputs, net = torch.randn(1, 2, 64, 8, 8), network(3, classes=5)
    thick = [scores.numel() for _, _, scores in parts(SlidingWindowInferer(8, 4, 0.5), inputs, net)]
    assert max(largest) == 5 * 8 * 8 * 8
    assert max(thick) == 5 * 8 * 8
