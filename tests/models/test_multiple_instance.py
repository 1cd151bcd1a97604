"""Bags: the order of instances does not matter, what is padded has no weight, leaves by glob, and bags come back as images."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from medexp.errors import UserError
from medexp.models.multiple_instance import Bag, MultipleInstance, MultipleScans
from medexp.models.simple_cnn import SimpleCNN

POOLINGS = ["attention", "mean", "max"]


def encoder(dims: int = 2) -> partial[SimpleCNN]:
    return partial(SimpleCNN, spatial_dims=dims, channels=(4, 4), hidden=8, dropout=0.0)


def slices(pooling: str = "attention") -> MultipleInstance:
    torch.manual_seed(0)
    return MultipleInstance(encoder(), 1, 3, features=8, pooling=pooling, hidden=5).eval()


def patches(size: list[int]) -> MultipleInstance:
    torch.manual_seed(0)
    return MultipleInstance(encoder(len(size)), 2, 1, features=8, instances="patches", patch_size=size).eval()


@pytest.mark.parametrize("pooling", POOLINGS)
def test_the_order_of_slices_does_not_matter(pooling: str) -> None:
    net, image = slices(pooling), torch.randn(2, 1, 8, 9, 6)
    order = torch.randperm(6)
    torch.testing.assert_close(net(image), net(image[..., order]))
    torch.testing.assert_close(net.attention(image)[:, order], net.attention(image[..., order]))


@pytest.mark.parametrize("pooling", POOLINGS)
@settings(max_examples=10, deadline=None)
@given(lengths=st.lists(st.integers(1, 4), min_size=1, max_size=3), fill=st.floats(-1e3, 1e3), more=st.integers(0, 2))
def test_padded_scans_have_no_weight_and_change_nothing(
    pooling: str, lengths: list[int], fill: float, more: int
) -> None:
    torch.manual_seed(0)
    net = MultipleScans(encoder(), 1, 2, features=8, pooling=pooling).eval()
    image = torch.randn(len(lengths), max(lengths) + more, 1, 8, 8)
    alone = [net(image[i : i + 1, :n]) for i, n in enumerate(lengths)]
    for i, n in enumerate(lengths):
        image[i, n:] = fill
    frames = torch.tensor(lengths)
    torch.testing.assert_close(net(image, frames), torch.cat(alone), rtol=1e-4, atol=1e-5)
    weights = net.attention(image, frames)
    for i, n in enumerate(lengths):
        assert (weights[i, n:] == 0).all()
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(len(lengths)))


def test_padded_scans_do_not_reach_a_batch_norm() -> None:
    one, other = (MultipleScans(encoder(), 1, 2, features=8).train() for _ in range(2))
    image = torch.randn(2, 3, 1, 8, 8)
    one(image)
    other(torch.cat([image, torch.full((2, 2, 1, 8, 8), 99.0)], dim=1), torch.tensor([3, 3]))
    mean = [net.net.features[0][1].running_mean for net in (one, other)]
    assert mean[0].abs().max() < 5
    assert mean[1].abs().max() < 5


@pytest.mark.parametrize("pooling", POOLINGS)
def test_every_parameter_learns(pooling: str) -> None:
    net = slices(pooling).train()
    net(torch.randn(2, 1, 8, 8, 4)).square().sum().backward()
    assert all(p.grad is not None for p in net.parameters())


def test_attention_is_the_formula_of_the_paper() -> None:
    bag, features = Bag(4, 2, hidden=3), torch.randn(1, 5, 4)
    scores, weights = bag(features, torch.ones(1, 5, dtype=torch.bool))
    v, u = bag.content[0], bag.gate[0]
    logits = torch.stack([bag.weigh.weight[0] @ (torch.tanh(v(h)) * torch.sigmoid(u(h))) for h in features[0]])
    torch.testing.assert_close(weights[0], logits.softmax(0))
    torch.testing.assert_close(scores, bag.scores((weights[0, :, None] * features[0]).sum(0))[None])


def test_of_the_maximum_an_instance_counts_by_the_features_that_it_gives() -> None:
    features = torch.tensor([[[1.0, 0.0, 1.0, 2.0], [0.0, 3.0, 1.0, 0.0], [9.0, 9.0, 9.0, 9.0]]])
    weights = Bag(4, 1, "max")(features, torch.tensor([[True, True, False]]))[1]
    assert weights.tolist() == [[0.625, 0.375, 0.0]]  # what two have is shared


@pytest.mark.parametrize(("size", "shape"), [([4, 4], (10, 8)), ([4, 3, 2], (8, 7, 5))])
def test_patches_lie_where_their_weights_are_spread(size: list[int], shape: tuple[int, ...]) -> None:
    net = patches(size)
    image = torch.randn(2, 2, *shape)
    bag = net.bag(image)
    assert bag.shape[2:] == (2, *size)
    number = torch.arange(bag.shape[1]).float().expand(2, -1)
    where = net.spread(number, shape)
    assert where.shape == (2, *shape)
    for index in (0, 1, bag.shape[1] - 1):
        inside = image[0, 0][where[0] == index]
        assert torch.isin(inside, bag[0, index, 0]).all()


def test_a_slice_has_the_weight_of_its_number() -> None:
    net = slices()
    assert torch.equal(net.spread(torch.tensor([[0.0, 1.0, 2.0]]), (4, 5, 3))[0, 1, 2], torch.tensor([0.0, 1.0, 2.0]))


class Brightest(nn.Module):
    """Features that are large where an instance is bright."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.width = out_channels

    def forward(self, image: Tensor) -> Tensor:
        return image.flatten(1).mean(dim=1, keepdim=True).expand(-1, self.width)


def test_attention_finds_the_instance_that_the_class_is_learnt_from() -> None:
    torch.manual_seed(0)
    net = MultipleInstance(Brightest, 1, 1, features=4, hidden=8)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.05)
    labels = torch.tensor([[0.0], [1.0]] * 8)
    image = torch.zeros(16, 1, 4, 4, 6)
    image[1::2, ..., 2] = 1.0
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(net(image), labels).backward()
        optimizer.step()
    assert net.attention(image)[1].argmax() == 2
    assert net.attention(image)[1, 2] > 0.5


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"pooling": "sum"}, r"model\.pooling: 'sum'; allowed: attention, mean, max"),
        ({"instances": "patches"}, r"model\.patch_size: None, but instances=patches: patches need one"),
        ({"patch_size": [4, 4]}, r"model\.patch_size: \[4, 4\], but instances=slices: slices have none"),
        ({"instances": "rows"}, r"model\.instances: 'rows'"),
    ],
)
def test_values_that_do_not_fit_are_named(options: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        MultipleInstance(encoder(), 1, 1, **options)


def test_a_flat_image_has_no_slices_and_patches_have_its_axes() -> None:
    with pytest.raises(UserError, match="slices are of volumes, the image is 2D"):
        slices()(torch.zeros(1, 1, 8, 8))
    with pytest.raises(UserError, match="for 3 axes; give one for each"):
        patches([4, 4])(torch.zeros(1, 2, 8, 8, 8))
