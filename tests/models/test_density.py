from __future__ import annotations

import pytest
import torch

from medexp.errors import UserError
from medexp.models.density import Density, DensityCNN


def test_twice_as_much_of_something_is_twice_the_density() -> None:
    """What is far apart adds up, wherever it lies; nothing else of the image matters."""
    torch.manual_seed(0)
    net = DensityCNN(2, 1, 1, channels=(4, 8)).eval()
    net.scale = torch.nn.Identity()
    for place, layer in enumerate(net.net):  # a norm over the image would look at all of it
        if "Norm" in type(layer).__name__:
            net.net[place] = torch.nn.Identity()
    spot = torch.rand(6, 6)
    images = torch.zeros(3, 1, 64, 64)
    for image, places in zip(images, ([], [(8, 8)], [(8, 8), (40, 44)]), strict=True):
        for row, column in places:
            image[0, row : row + 6, column : column + 6] = spot
    nothing, one, two = net(images).flatten()
    torch.testing.assert_close(two - nothing, 2 * (one - nothing), rtol=1e-3, atol=1e-7)
    assert abs(one - nothing) > 1e-6


def test_a_density_is_never_below_zero_and_outputs_are_one_each() -> None:
    net = DensityCNN(3, 2, 3, channels=(4, 8))
    net.scale = torch.nn.Identity()
    found = net(torch.randn(2, 2, 8, 10, 12))
    assert found.shape == (2, 3)
    assert found.min() >= 0


def test_any_network_with_a_value_a_voxel_can_be_summed() -> None:
    net = Density(torch.nn.Conv2d(1, 2, 1, bias=False), out_channels=2).eval()
    net.net.weight.data[:] = torch.tensor([1.0, -1.0]).view(2, 1, 1, 1)
    found = net(torch.tensor([[[[0.0, 3.0]]]]))
    means = [(torch.nn.functional.softplus(torch.tensor([0.0, sign * 3.0]))).mean() for sign in (1, -1)]
    torch.testing.assert_close(found, torch.stack(means)[None] / (1 + net.scale.eps) ** 0.5)


def test_gradients_reach_every_parameter() -> None:
    torch.manual_seed(0)
    net = DensityCNN(2, 1, 2, channels=(4, 8))
    net(torch.randn(4, 1, 16, 16)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_a_batch_of_one_cannot_be_scaled_in_training() -> None:
    net = DensityCNN(2, 1, 1, channels=(4,))
    with pytest.raises(UserError, match=r"dataset\.batch_size: 1, .* give 2 or more"):
        net(torch.randn(1, 1, 8, 8))
    assert net.eval()(torch.randn(1, 1, 8, 8)).shape == (1, 1)
