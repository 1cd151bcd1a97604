from __future__ import annotations

import torch

from medexp.models.simple_cnn import SimpleCNN


def test_any_image_size_will_do_from_eight_pixels_on() -> None:
    net = SimpleCNN(spatial_dims=2, in_channels=1, out_channels=2).eval()
    assert net(torch.zeros(1, 1, 8, 8)).shape == (1, 2)
    assert net(torch.zeros(1, 1, 37, 51)).shape == (1, 2)


def test_channels_set_the_depth() -> None:
    net = SimpleCNN(spatial_dims=3, in_channels=2, out_channels=1, channels=(4, 8), hidden=5)
    # kernels 2*4*27 + 4*8*27, batch norms 2*4 + 2*8, dense 8*5 + 5, head 5 + 1
    assert sum(parameter.numel() for parameter in net.parameters()) == 216 + 864 + 24 + 45 + 6
