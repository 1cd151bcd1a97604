"""Images from noise: a generator for the adversarial tasks, in 2D and 3D, with classes or without."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from monai.networks.blocks import Convolution
from torch import Tensor, nn

from medexp.errors import UserError


class NoiseGenerator(nn.Module):
    """Noise (B, latent) to images (B, out_channels, *size): a linear layer to the coarsest grid, then blocks that double it
    (Radford et al. 2016, arXiv:1511.06434), here by repeating voxels before a convolution, which leaves no checkerboard
    (Odena et al. 2016, doi:10.23915/distill.00003).

    channels: of each grid, the coarsest first; `size` is 2^(len(channels) - 1) times that grid along each axis. classes: the
    number of classes, each with an embedding beside the noise; None: none. norm: MONAI's name of a norm, "" for none.
    Raises UserError for a size that cannot be halved as often.
    """

    def __init__(
        self,
        spatial_dims: int,
        out_channels: int,
        size: Sequence[int],
        latent: int = 64,
        channels: Sequence[int] = (128, 64, 32, 16),
        classes: int | None = None,
        norm: str = "batch",
    ) -> None:
        super().__init__()
        factor = 2 ** (len(channels) - 1)
        if len(size) != spatial_dims or any(side % factor for side in size):
            raise UserError(
                f"model.size: {list(size)} is not {spatial_dims} numbers that {factor} divides, for model.channels double the "
                f"grid {len(channels) - 1} times; give another size of image, or fewer channels"
            )
        self.start = (channels[0], *(side // factor for side in size))
        self.embedding = None if classes is None else nn.Embedding(classes, latent)
        coarse = torch.Size(self.start).numel()
        self.project = nn.Linear(latent * (1 if classes is None else 2), coarse)
        options: dict[str, Any] = {"adn_ordering": "NA", "act": "relu", "norm": norm}
        blocks: list[nn.Module] = [Convolution(spatial_dims, channels[0], channels[0], **options)]
        for before, width in pairwise(channels):
            blocks += [nn.Upsample(scale_factor=2), Convolution(spatial_dims, before, width, **options)]
        self.blocks = nn.Sequential(*blocks)
        self.head = Convolution(spatial_dims, channels[-1], out_channels, conv_only=True)

    def forward(self, noise: Tensor, class_labels: Tensor | None = None) -> Tensor:
        """class_labels: int (B,)."""
        if self.embedding is not None:
            noise = torch.cat([noise, self.embedding(class_labels).to(noise.dtype)], dim=1)
        found: Tensor = self.head(self.blocks(self.project(noise).reshape(len(noise), *self.start)))
        return found
