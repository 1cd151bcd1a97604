"""Networks of frames: padding changes nothing, order matters, and what is known of a frame is read; leaves by glob."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from torch import Tensor, nn

from medexp.errors import UserError
from medexp.models.sequence import Recurrent, SelfAttention, SequenceNet, sinusoids

LEAVES = {path.stem: path for path in sorted(Path(__file__).parents[2].joinpath("conf/model").glob("sequence_*.yaml"))}
SIZE = {2: (12, 10), 3: (8, 9, 8)}


def build(name: str, dims: int = 2, channels: int = 1, **changes: Any) -> SequenceNet:
    root = OmegaConf.create(
        {
            "dataset": {"spatial_dims": dims, "in_channels": channels},
            "task": {"out_channels": channels if name == "sequence_voxels" else 3},
            "model": OmegaConf.merge(OmegaConf.load(LEAVES[name]), changes),
        }
    )
    torch.manual_seed(0)
    return instantiate(root.model, _convert_="all")


def studies(count: int, longest: int, dims: int = 2, channels: int = 1) -> tuple[Tensor, Tensor]:
    """Images (B, T, C, *spatial) and times (B, T)."""
    torch.manual_seed(1)
    image = torch.randn(count, longest, channels, *SIZE[dims])
    return image, -torch.arange(longest, 0, -1.0).expand(count, -1).contiguous()


@pytest.mark.parametrize("name", LEAVES)
@pytest.mark.parametrize("dims", [2, 3])
def test_a_step_reaches_every_parameter_and_gives_scores_a_study(name: str, dims: int) -> None:
    net = build(name, dims).train()
    image, times = studies(2, 3, dims)
    scores = net(image, frames=torch.tensor([3, 2]), times=times)
    assert scores.shape == ((2, 1, *SIZE[dims]) if name == "sequence_voxels" else (2, 3))
    with torch.no_grad():
        for parameter in net.scores.parameters():
            parameter.add_(0.1)  # of frames they begin at nothing, which nothing reaches through
    net(image, frames=torch.tensor([3, 2]), times=times).square().mean().backward()
    assert {key for key, p in net.named_parameters() if p.grad is None} == set()


@pytest.mark.parametrize("name", LEAVES)
@settings(max_examples=8, deadline=None)
@given(lengths=st.lists(st.integers(1, 5), min_size=1, max_size=3), more=st.integers(0, 2), fill=st.floats(-9, 9))
def test_padding_changes_nothing(name: str, lengths: list[int], more: int, fill: float) -> None:
    net = build(name).eval()
    nn.init.normal_(net.scores.weight)
    longest = max(lengths) + more
    image, times = studies(len(lengths), longest)
    alone = [net(image[i : i + 1, :n], times=times[i : i + 1, :n]) for i, n in enumerate(lengths)]
    for i, n in enumerate(lengths):
        image[i, n:], times[i, n:] = fill, fill
    together = net(image, frames=torch.tensor(lengths), times=times)
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["sequence_gru", "sequence_transformer"])
def test_padded_frames_do_not_reach_the_statistics_of_a_batch_norm(name: str) -> None:
    image, times = studies(2, 3)
    padded = torch.cat([image, torch.full_like(image[:, :1], 99.0)], dim=1)
    longer = torch.cat([times, times[:, :1]], dim=1)
    frames = torch.tensor([3, 3])
    one, other = build(name).train(), build(name).train()
    torch.testing.assert_close(one(image, frames, times), other(padded, frames, longer), rtol=1e-4, atol=1e-5)
    assert torch.equal(one.encoder.features[0][1].running_mean, other.encoder.features[0][1].running_mean)


@pytest.mark.parametrize("name", LEAVES)
def test_the_order_of_frames_matters(name: str) -> None:
    net = build(name, change=False).eval()
    image, times = studies(2, 3)
    turned = image[:, [1, 0, 2]]  # the last stays, whose state is read
    assert (net(image, times=times) - net(turned, times=times)).abs().max() > 1e-5


def test_without_positions_attention_sees_a_set_of_frames() -> None:
    net = build("sequence_transformer", position=None).eval()
    image, times = studies(1, 3)
    torch.testing.assert_close(net(image, times=times), net(image[:, [1, 0, 2]], times=times), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("position", "differs"), [("time", True), ("index", False), (None, False)])
def test_a_gap_in_time_is_seen_where_positions_are_times(position: str | None, differs: bool) -> None:
    net = build("sequence_lstm", position=position).eval()
    image, times = studies(1, 3)
    with_gap = times.clone()
    with_gap[:, 0] -= 4
    moved = (net(image, times=times) - net(image, times=with_gap)).abs().max()
    assert (moved > 1e-5) == differs


def test_a_mask_of_frames_says_what_their_number_does() -> None:
    net = build("sequence_gru").eval()
    image, times = studies(2, 3)
    mask = torch.tensor([[True, True, False], [True, True, True]])
    torch.testing.assert_close(net(image, mask, times), net(image, torch.tensor([2, 3]), times))


def test_values_of_the_frames_are_read_and_must_be_there() -> None:
    net = build("sequence_gru", values=True).eval()
    image, times = studies(2, 3)
    one, other = (net(image, times=times, values=torch.full((2, 3), value)) for value in (0.0, 1.0))
    assert (one - other).abs().max() > 1e-4
    with pytest.raises(UserError, match="no value a frame"):
        net(image, times=times)


def test_a_network_of_changes_begins_with_the_last_frame() -> None:
    net = build("sequence_voxels", channels=2).eval()
    image, times = studies(2, 3, channels=2)
    found = net(image, torch.tensor([2, 3]), times)
    torch.testing.assert_close(found, torch.stack([image[0, 1], image[1, 2]]))


def test_changes_of_several_horizons_are_added_to_one_frame() -> None:
    head = Recurrent("gru", 4, 4)
    net = SequenceNet(nn.Conv2d(2, 4, 1), head, features=4, out_channels=6, position=None, change=True)
    image, _ = studies(1, 3, channels=2)
    torch.testing.assert_close(net(image), image[:, -1].repeat(1, 3, 1, 1))


def test_any_network_of_features_is_an_encoder() -> None:
    from monai.networks.nets import UNet, resnet10

    image, _ = studies(2, 2, dims=3)
    options = {"spatial_dims": 3, "n_input_channels": 1, "num_classes": 8}
    net = SequenceNet(resnet10(**options), SelfAttention(8, heads=2), features=8, out_channels=2)
    assert net(image).shape == (2, 2)
    unet = UNet(3, 1, 8, channels=(4, 8), strides=(2,))
    dense = SequenceNet(unet, Recurrent("rnn", 8, 4), features=8, out_channels=1)
    assert dense(image[..., :8, :8]).shape == (2, 1, 8, 8, 8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"features": 63}, "model.features: 63 is odd"), ({"features": 66}, "heads: 4 does not divide model.features=66")],
)
def test_sizes_that_do_not_fit_are_named(changes: dict[str, Any], message: str) -> None:
    name = "sequence_gru" if changes["features"] == 63 else "sequence_transformer"
    with pytest.raises(Exception, match=message):
        build(name, **changes)


def test_a_still_image_is_no_sequence() -> None:
    with pytest.raises(UserError, match="no sequence"):
        build("sequence_gru")(torch.zeros(2, 1, 12, 10))


def test_sinusoids_are_those_of_the_paper() -> None:
    found = sinusoids(torch.tensor([[2.0]]), 4)[0, 0]
    wanted = torch.tensor([2.0, 2.0, 0.02, 0.02])
    torch.testing.assert_close(found, torch.stack([wanted[0].sin(), wanted[1].cos(), wanted[2].sin(), wanted[3].cos()]))
