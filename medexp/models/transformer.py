"""What the transformers share: one fixed image size, and no parameters that training never reaches."""

from __future__ import annotations

from collections.abc import Sequence

from monai.networks.blocks.transformerblock import TransformerBlock
from torch import nn

from medexp.errors import UserError


def fixed_size(
    fact: str, img_size: Sequence[int] | int | None, patch_size: Sequence[int] | int, spatial_dims: int
) -> list[int]:
    """Voxels of every image, one number a spatial axis. `fact` is the key that the size usually comes from.

    Raises UserError where an axis has no size or is no whole number of patches.
    """
    image, patch = _axes(img_size, spatial_dims), _axes(patch_size, spatial_dims)
    if len(image) != spatial_dims or len(patch) != spatial_dims:
        raise UserError(
            f"model.img_size={img_size}, patches {patch_size}: not one size for each of {spatial_dims} axes; "
            f"a transformer needs one fixed image size: set {fact}"
        )
    if any(a % b or not a for a, b in zip(image, patch, strict=True)):
        raise UserError(f"model.img_size: {image} is no multiple of the patches {patch}; change {fact}")
    return image


def without_unused(net: nn.Module) -> None:
    """Takes the norms of absent cross-attention out of MONAI's blocks.

    They are built but never called, and distributed training stops at a parameter that gets no gradient.
    """
    for block in net.modules():
        if isinstance(block, TransformerBlock) and not block.with_cross_attention:
            block.norm_cross_attn = nn.Identity()  # type: ignore[assignment]


def _axes(size: Sequence[int] | int | None, spatial_dims: int) -> list[int]:
    return [size] * spatial_dims if isinstance(size, int) else list(size or ())
