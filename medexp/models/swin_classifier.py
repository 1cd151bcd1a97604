"""A classifier of shifted windows."""

from __future__ import annotations

from collections.abc import Sequence

from monai.networks.nets.swin_unetr import SwinTransformer
from torch import Tensor, nn

from medexp.errors import UserError


class SwinClassifier(nn.Module):
    """MONAI's Swin transformer (Liu et al. 2021, doi:10.1109/ICCV48922.2021.00986), the encoder of Swin UNETR, with the mean
    of its last features and a linear head: (B, C, *spatial) -> logits (B, K). Images may have any size.

    feature_size: width of the first stage, doubled by each of the four. patch_size: voxels of a token. window_size: tokens
    that attend to each other, an axis. Raises UserError where the heads do not divide the width.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        feature_size: int = 24,
        depths: Sequence[int] = (2, 2, 2, 2),
        num_heads: Sequence[int] = (3, 6, 12, 24),
        patch_size: int = 2,
        window_size: int = 7,
        dropout_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__()
        for stage, heads in enumerate(num_heads):
            if feature_size * 2**stage % heads:
                raise UserError(
                    f"model.num_heads: {heads} does not divide the width {feature_size * 2**stage} of stage {stage + 1}; "
                    "change it or model.feature_size"
                )
        self.encoder = SwinTransformer(
            in_chans=in_channels,
            embed_dim=feature_size,
            window_size=[window_size] * spatial_dims,
            patch_size=[patch_size] * spatial_dims,
            depths=depths,
            num_heads=num_heads,
            drop_rate=dropout_rate,
            drop_path_rate=drop_path_rate,
            spatial_dims=spatial_dims,
        )
        self.head = nn.Linear(feature_size * 16, out_channels)

    def forward(self, image: Tensor) -> Tensor:
        features = self.encoder(image)[-1]  # (B, 16 * feature_size, *spatial), normalised over its channels
        return self.head(features.flatten(2).mean(2))
