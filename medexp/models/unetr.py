"""UNETR without the parameters that it never uses."""

from __future__ import annotations

from collections.abc import Sequence

from monai.networks.nets import UNETR as MonaiUNETR

from medexp.models.transformer import fixed_size, without_unused

PATCH_SIZE = 16  # voxels of a token, fixed in the architecture


class UNETR(MonaiUNETR):
    """MONAI's UNETR (Hatamizadeh et al. 2022): (B, C, *spatial) -> scores (B, K, *spatial).

    img_size: voxels of every image, a multiple of 16. Raises UserError where it is none.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        img_size: Sequence[int] | int,
        feature_size: int = 16,
        hidden_size: int = 768,
        mlp_dim: int = 3072,
        num_heads: int = 12,
        dropout_rate: float = 0.0,
    ) -> None:
        super().__init__(
            in_channels=in_channels,
            out_channels=out_channels,
            img_size=fixed_size("dataset.patch_size", img_size, PATCH_SIZE, spatial_dims),
            feature_size=feature_size,
            hidden_size=hidden_size,
            mlp_dim=mlp_dim,
            num_heads=num_heads,
            dropout_rate=dropout_rate,
            spatial_dims=spatial_dims,
        )
        without_unused(self)
