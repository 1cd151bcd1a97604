"""A vision transformer that answers with logits."""

from __future__ import annotations

from collections.abc import Sequence

from monai.networks.nets import ViT as MonaiViT
from torch import Tensor, nn

from medexp.errors import UserError
from medexp.models.transformer import fixed_size, without_unused


class ViT(nn.Module):
    """MONAI's ViT (Dosovitskiy et al. 2021) as a classifier.

    MONAI's own answers (scores, hidden states) and squashes the scores with Tanh, which no cross-entropy can train to
    certainty; here the class token's logits alone come out.

    img_size: voxels of every image; patch_size: voxels of a token; both a number or one a spatial axis.
    Raises UserError where an image is no whole number of patches or the heads do not divide the width.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        img_size: Sequence[int] | int,
        patch_size: Sequence[int] | int = 16,
        hidden_size: int = 384,
        mlp_dim: int = 1536,
        num_layers: int = 12,
        num_heads: int = 6,
        dropout_rate: float = 0.0,
    ) -> None:
        super().__init__()
        size = fixed_size("dataset.image_size", img_size, patch_size, spatial_dims)
        if hidden_size % num_heads:
            raise UserError(f"model.num_heads: {num_heads} does not divide model.hidden_size={hidden_size}")
        self.net = MonaiViT(
            in_channels=in_channels,
            img_size=size,
            patch_size=patch_size,
            hidden_size=hidden_size,
            mlp_dim=mlp_dim,
            num_layers=num_layers,
            num_heads=num_heads,
            classification=True,
            num_classes=out_channels,
            dropout_rate=dropout_rate,
            spatial_dims=spatial_dims,
            post_activation="none",
        )
        without_unused(self.net)

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, *spatial) -> logits (B, K)."""
        logits, _hidden_states = self.net(image)
        return logits
