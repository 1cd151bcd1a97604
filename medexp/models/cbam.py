"""Attention to channels and places of a feature map, and a residual network with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.networks.layers.factories import Conv, Norm
from monai.networks.nets import ResNet
from monai.networks.nets.resnet import ResNetBlock
from torch import Tensor, nn


class ChannelAttention(nn.Module):
    """A weight a channel, from its mean and its maximum over the image: (B, C, *spatial) -> (B, C, 1, ...)."""

    def __init__(self, spatial_dims: int, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(channels // reduction, 4)
        self.mlp = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels))
        self.axes = tuple(range(2, 2 + spatial_dims))

    def forward(self, features: Tensor) -> Tensor:
        pooled = features.mean(self.axes), features.amax(self.axes)
        return torch.sigmoid(self.mlp(pooled[0]) + self.mlp(pooled[1])).reshape(
            *features.shape[:2], *[1] * len(self.axes)
        )


class SpatialAttention(nn.Module):
    """A weight a place, from the mean and the maximum over the channels around it: (B, C, *spatial) -> (B, 1, *spatial)."""

    def __init__(self, spatial_dims: int, kernel_size: int = 7) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            Conv["conv", spatial_dims](2, 1, kernel_size, padding=kernel_size // 2, bias=False),
            Norm["batch", spatial_dims](1),
        )

    def forward(self, features: Tensor) -> Tensor:
        pooled = torch.cat([features.mean(1, keepdim=True), features.amax(1, keepdim=True)], dim=1)
        return torch.sigmoid(self.conv(pooled))


class CBAM(nn.Module):
    """Convolutional block attention (Woo et al. 2018, doi:10.1007/978-3-030-01234-2_1) in 2D and 3D: channels first, then
    places. The shape stays.

    reduction: of the channels within the channel attention. kernel_size: voxels that a place looks around, odd.
    """

    def __init__(self, spatial_dims: int, channels: int, reduction: int = 16, kernel_size: int = 7) -> None:
        super().__init__()
        self.channel = ChannelAttention(spatial_dims, channels, reduction)
        self.spatial = SpatialAttention(spatial_dims, kernel_size)

    def forward(self, features: Tensor) -> Tensor:
        features = features * self.channel(features)
        return features * self.spatial(features)


class CBAMBlock(ResNetBlock):
    """MONAI's residual block with CBAM at the end of its branch, before the identity is added, as in the paper."""

    def __init__(self, in_planes: int, planes: int, spatial_dims: int = 3, **options: Any) -> None:
        super().__init__(in_planes, planes, spatial_dims, **options)
        self.bn2 = nn.Sequential(self.bn2, CBAM(spatial_dims, planes))


class CBAMResNet(ResNet):
    """MONAI's ResNet of such blocks: (B, C, *spatial) -> logits (B, K).

    layers, channels: number of blocks of each of the four stages, and their width.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        layers: Sequence[int] = (2, 2, 2, 2),
        channels: Sequence[int] = (64, 128, 256, 512),
    ) -> None:
        super().__init__(
            CBAMBlock,
            list(layers),
            list(channels),
            spatial_dims=spatial_dims,
            n_input_channels=in_channels,
            num_classes=out_channels,
        )
