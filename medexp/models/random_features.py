"""Features of images that need no training: convolutions of random weights, always the same."""

from __future__ import annotations

import torch
from monai.networks.layers.factories import Conv
from torch import Tensor, nn

from medexp.seeding import derive

WIDTHS = (16, 24, 24)


class RandomFeatures(nn.Module):
    """Images (B, C, *spatial) to (B, 64): means over space of three layers of strided convolutions.

    Random features tell distributions of images apart nearly as well as trained ones where no network of the field is at
    hand (Naeem et al. 2020, arXiv:2002.09797). The weights are a function of `in_channels` and `spatial_dims` alone.
    """

    def __init__(self, spatial_dims: int, in_channels: int) -> None:
        super().__init__()
        layers = []
        generator = torch.Generator().manual_seed(derive("random features", spatial_dims, in_channels))
        for before, width in zip((in_channels, *WIDTHS), WIDTHS, strict=False):
            layer = Conv["conv", spatial_dims](before, width, kernel_size=3, stride=2, padding=1)
            spread = (2 / (before * 3**spatial_dims)) ** 0.5
            with torch.no_grad():
                layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator) * spread)
                layer.bias.zero_()
            layers.append(layer)
        self.layers = nn.ModuleList(layers)

    @torch.no_grad()
    def forward(self, image: Tensor) -> Tensor:
        found, values = [], image.float()
        for layer in self.layers:
            values = torch.relu(layer(values))
            found.append(values.flatten(2).mean(dim=2))
        return torch.cat(found, dim=1)
