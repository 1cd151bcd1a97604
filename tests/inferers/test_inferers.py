from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from monai.inferers import SimpleInferer, SlidingWindowInferer
from monai.networks.nets import UNet
from omegaconf import OmegaConf
from torch import nn

from medexp.errors import UserError
from medexp.inferers.flips import FlipEnsemble
from medexp.inferers.whole import WholeImage

LEAVES = sorted((Path(__file__).parents[2] / "conf" / "inferer").glob("*.yaml"))
SIZES = {2: [(32, 32), (33, 47), (5, 70)], 3: [(16, 16, 16), (13, 21, 9), (5, 33, 18)]}
CASES = [(dims, size) for dims in (2, 3) for size in SIZES[dims]]


def leaf(path: Path, spatial_dims: int):
    dataset = {"spatial_dims": spatial_dims, "patch_size": [16] * spatial_dims}
    config = OmegaConf.create({"dataset": dataset, "inferer": OmegaConf.load(path)})
    return instantiate(config.inferer, _convert_="all")


def pointwise(spatial_dims: int) -> nn.Module:
    torch.manual_seed(0)
    return (nn.Conv2d if spatial_dims == 2 else nn.Conv3d)(2, 3, kernel_size=1).eval()


def unet(spatial_dims: int) -> nn.Module:
    torch.manual_seed(0)
    return UNet(spatial_dims, 2, 3, channels=(4, 8, 8), strides=(2, 2)).eval()


def image(size: tuple[int, ...]) -> torch.Tensor:
    return torch.randn(2, 2, *size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("spatial_dims", "size"), CASES)
@pytest.mark.parametrize("path", LEAVES, ids=lambda path: path.stem)
@torch.no_grad()
def test_no_leaf_changes_the_result_of_a_voxelwise_network(path: Path, spatial_dims: int, size: tuple) -> None:
    network, inputs = pointwise(spatial_dims), image(size)
    logits = leaf(path, spatial_dims)(inputs, network)
    assert logits.shape == (2, 3, *size)
    torch.testing.assert_close(logits, network(inputs), rtol=1e-5, atol=1e-5)


def test_leaves_are_found() -> None:
    names = {path.stem for path in LEAVES}
    assert names >= {"whole", "simple", "sliding_window", "sliding_window_mirror", "whole_mirror"}


@pytest.mark.parametrize(("spatial_dims", "size"), CASES)
@torch.no_grad()
def test_whole_image_lets_a_unet_take_any_size(spatial_dims: int, size: tuple) -> None:
    logits = WholeImage(divisible_by=4)(image(size), unet(spatial_dims))
    assert logits.shape == (2, 3, *size)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("size", [(32, 48), (16, 16, 32)])
@torch.no_grad()
def test_whole_image_is_the_network_itself_where_the_size_divides(size: tuple) -> None:
    network, inputs = unet(len(size)), image(size)
    assert torch.equal(WholeImage(divisible_by=16)(inputs, network), network(inputs))


@torch.no_grad()
def test_whole_image_pads_both_ends_by_repeating_the_edge() -> None:
    seen = []

    def network(inputs: torch.Tensor) -> torch.Tensor:
        seen.append(inputs)
        return inputs

    inputs = torch.tensor([[[[1.0, 2.0, 3.0, 4.0, 5.0]]]])
    assert torch.equal(WholeImage(divisible_by=4)(inputs, network), inputs)
    assert seen[0].shape == (1, 1, 4, 8)
    assert seen[0][0, 0, 0].tolist() == [1, 1, 2, 3, 4, 5, 5, 5]


@torch.no_grad()
def test_images_smaller_than_the_patch_are_padded_as_in_training() -> None:
    """A network with instance norm meets in training, and here, what the padding makes of its statistics."""
    network, inputs = unet(2), image((9, 20))
    widths = (2, 2, 3, 4)  # (B, C, 9, 20) to 16 x 24: before and after, the last axis first
    wanted = network(torch.nn.functional.pad(inputs, widths, mode="replicate"))[..., 3:12, 2:22]
    torch.testing.assert_close(WholeImage(4, at_least=[16, 24])(inputs, network), wanted)
    torch.testing.assert_close(WholeImage(8, at_least=[15, 4])(inputs, network), wanted)
    with pytest.raises(UserError, match=r"inferer\.at_least: \[16, 16, 16\] for an image of 2 axes"):
        WholeImage(4, at_least=[16, 16, 16])(inputs, network)


def test_whole_image_points_to_simple_for_a_network_without_spatial_output() -> None:
    with pytest.raises(UserError, match=r"\(2, 2, 32, 32\) into \(2, 2\).*inferer=simple"):
        WholeImage(divisible_by=32)(image((20, 20)), lambda inputs: inputs.mean((2, 3)))


@pytest.mark.parametrize("divisible_by", [0, -2, 1.5, True])
def test_bad_divisor_is_named(divisible_by: object) -> None:
    with pytest.raises(UserError, match=r"inferer\.divisible_by: got .*at least 1"):
        WholeImage(divisible_by=divisible_by)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [(16, 24), (8, 16, 8)])
@torch.no_grad()
def test_mirroring_averages_the_logits_of_every_mirrored_pass(size: tuple) -> None:
    network, inputs = unet(len(size)), image(size)
    axes = range(2, 2 + len(size))
    passes = [dims for count in range(len(size) + 1) for dims in combinations(axes, count)]
    expected = torch.stack([network(inputs.flip(dims)).flip(dims) for dims in passes]).mean(0)
    torch.testing.assert_close(FlipEnsemble(SimpleInferer())(inputs, network), expected, rtol=1e-4, atol=1e-5)
    assert len(passes) == 2 ** len(size)


@torch.no_grad()
def test_mirrored_result_of_a_mirrored_image_is_the_same() -> None:
    network, inputs = unet(2), image((18, 26))
    ensemble = FlipEnsemble(WholeImage(divisible_by=8), axes=[1])
    mirrored = ensemble(inputs.flip(3), network).flip(3)
    torch.testing.assert_close(mirrored, ensemble(inputs, network), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_mirroring_averages_class_logits_without_mirroring_them() -> None:
    def first_voxel(inputs: torch.Tensor) -> torch.Tensor:  # (B, C)
        return inputs[:, :, 0]

    inputs = torch.tensor([[[1.0, 2.0, 5.0]]])
    assert FlipEnsemble(SimpleInferer())(inputs, first_voxel).tolist() == [[3.0]]


@pytest.mark.parametrize("axes", [[3], [-1], [0, 0]])
def test_bad_mirror_axes_are_named(axes: list[int]) -> None:
    with pytest.raises(UserError, match=r"inferer\.axes: got .*0, 1, 2"):
        FlipEnsemble(SimpleInferer(), axes=axes)


def test_a_mirror_axis_that_the_image_lacks_is_named() -> None:
    with pytest.raises(UserError, match=r"inferer\.axes: got \[2\]; allowed for 2D images: 0 to 1"):
        FlipEnsemble(SimpleInferer(), axes=[2])(image((8, 8)), pointwise(2))


def test_sliding_window_leaf_reads_the_patch_size_of_the_data() -> None:
    inferer = leaf(Path(__file__).parents[2] / "conf" / "inferer" / "sliding_window.yaml", 3)
    assert isinstance(inferer, SlidingWindowInferer)
    assert inferer.roi_size == [16, 16, 16]
    assert inferer.mode == "gaussian"
