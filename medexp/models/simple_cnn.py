"""A small convolutional classifier for 2D and 3D images."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from monai.networks.layers.factories import Conv, Norm, Pool
from torch import Tensor, nn


class SimpleCNN(nn.Module):
    """Convolution blocks that halve the image, global average pooling, a dense layer with dropout, a linear head.

    channels: of each block; an image needs at least 2 ** len(channels) pixels an axis.
    hidden: width of the dense layer.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        channels: Sequence[int] = (16, 32, 64),
        hidden: int = 64,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        widths = [in_channels, *channels]
        self.features = nn.Sequential(*(_block(spatial_dims, a, b) for a, b in pairwise(widths)))
        self.pool = Pool["adaptiveavg", spatial_dims](1)
        self.dense = nn.Sequential(nn.Flatten(), nn.Linear(widths[-1], hidden), nn.ReLU(), nn.Dropout(dropout))
        self.head = nn.Linear(hidden, out_channels)

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, *spatial) -> logits (B, K)."""
        return self.head(self.dense(self.pool(self.features(image))))


def _block(spatial_dims: int, in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        Conv["conv", spatial_dims](in_channels, out_channels, kernel_size=3, padding=1, bias=False),
        Norm["batch", spatial_dims](out_channels),
        nn.ReLU(),
        Pool["max", spatial_dims](kernel_size=2),
    )
