"""A network that adds up: volumes and counts as the sum of a density over the image (Lempitsky and Zisserman 2010)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from monai.networks.layers.factories import Conv, Norm, Pool
from torch import Tensor, nn

from medexp.errors import UserError

MOMENTUM = (
    0.3  # of the running mean density: it moves with every step by more than images differ, and must not lag behind
)


class Density(nn.Module):
    """A dense network's outputs (B, K, *spatial) as densities above 0 at every place, their mean over the image, and that
    scaled by a batch norm.

    What is asked of a volume or a count is how much of something there is, wherever it is. A lesion of 1 ml is a thousandth
    of a scan: pooled features hardly show it, a density that is 0 elsewhere does. The mean is in proportion to the sum
    where images have one size.

    Raises UserError in training on batches of one.
    """

    def __init__(self, net: nn.Module, out_channels: int) -> None:
        super().__init__()
        self.net = net
        self.scale = nn.BatchNorm1d(out_channels, momentum=MOMENTUM)  # to that of a standardised target

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, *spatial) -> (B, K)."""
        if self.training and len(image) < 2:
            raise UserError("dataset.batch_size: 1, but Density scales densities by the batch; give 2 or more")
        density = F.softplus(self.net(image).float())
        return self.scale(density.flatten(2).mean(dim=2))


class DensityCNN(Density):
    """Densities of convolution blocks, of which all but the last halve the image. channels: of each block."""

    def __init__(
        self, spatial_dims: int, in_channels: int, out_channels: int, channels: Sequence[int] = (16, 32, 32)
    ) -> None:
        widths = [in_channels, *channels]
        halved = Pool["max", spatial_dims]
        blocks: list[nn.Module] = []
        for number, (a, b) in enumerate(pairwise(widths), start=1):
            blocks += [
                Conv["conv", spatial_dims](a, b, kernel_size=3, padding=1, bias=False),
                Norm["instance", spatial_dims](b, affine=True),
                nn.ReLU(),
                *([halved(kernel_size=2)] if number < len(channels) else []),
            ]
        density = Conv["conv", spatial_dims](widths[-1], out_channels, kernel_size=1)
        super().__init__(nn.Sequential(*blocks, density), out_channels)
