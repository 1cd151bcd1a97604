"""Absolute error together with structural similarity: what images are restored by."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from monai.losses import SSIMLoss
from torch import Tensor, nn

from medexp.errors import UserError


class Structural(nn.Module):
    """`weight` (1 - SSIM) + (1 - `weight`) |difference| (Zhao 2017, doi:10.1109/TCI.2016.2644865), SSIM by MONAI.

    Images (B, C, *spatial); the range that SSIM is relative to is that of the batch's references. window: voxels along
    each axis, an odd number, less where an image is thinner. Raises UserError for numbers out of range.
    """

    def __init__(self, spatial_dims: int, weight: float = 0.5, window: int = 7) -> None:
        super().__init__()
        if not 0 <= weight <= 1:
            raise UserError(f"loss.weight: {weight} is not between 0 (absolute error alone) and 1 (SSIM alone)")
        if window < 3 or window % 2 == 0:
            raise UserError(f"loss.window: {window} is no odd number from 3")
        self.weight, self.spatial_dims, self.window = weight, spatial_dims, window

    def forward(self, images: Tensor, references: Tensor) -> Tensor:
        images, references = images.float(), references.float()
        low = references.amin()
        width = (references.amax() - low).clamp(min=torch.finfo(torch.float32).eps)
        fitting = [min(self.window, size - 1 + size % 2) for size in images.shape[2:]]
        ssim = SSIMLoss(spatial_dims=self.spatial_dims, win_size=fitting)
        similar: Tensor = ssim((images - low) / width, (references - low) / width)
        return self.weight * similar + (1 - self.weight) * F.l1_loss(images, references)
