"""Pooled heads on the deepest features of any encoder-decoder: one network, a label map and what the whole image is."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from medexp.errors import UserError
from medexp.models.features import SIZE, deepest
from medexp.targets import width


class PooledHeads(nn.Module):
    """An encoder-decoder with a small head an entry of `targets`, on the mean and the maximum of its deepest features.

    net: gives scores (B, K, *spatial), or several with deep supervision. targets: `dataset.targets`; a unit is one output, a
    list of classes one each (one for two). layer: name of the module whose output is pooled; None: of all outputs with
    the fewest voxels the one with the most channels. hidden: width of each head.

    The heads' outputs stand beside the scores as further channels, equal at every voxel, so that whatever an inferer does to
    scores (cropping, averaging mirrored passes) suits them as well. Raises UserError for a layer that gives no features.
    """

    def __init__(
        self,
        net: nn.Module,
        spatial_dims: int,
        in_channels: int,
        targets: Mapping[str, Any],
        layer: str | None = None,
        hidden: int = 32,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if not targets:
            raise UserError(
                "dataset.targets: names nothing for the heads; give dataset.targets={NAME: UNIT or CLASSES}"
            )
        self.net, self.spatial_dims = net, spatial_dims
        trial = torch.empty((2, in_channels, *[SIZE] * spatial_dims), device="meta")
        self.layer, channels = deepest(copy.deepcopy(net).to("meta").eval(), trial, layer)
        net.get_submodule(self.layer).register_forward_hook(self._keep)
        self.heads = nn.ModuleList(_head(2 * channels, hidden, width(entry), dropout) for entry in targets.values())
        self._features: Tensor | None = None

    def _keep(self, module: nn.Module, given: Any, output: Tensor) -> None:
        self._features = output

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        """(B, C, *spatial) to scores (B, K + outputs of the heads, *spatial); with deep supervision a list, of which the
        first is such."""
        output = self.net(image)
        features, self._features = self._features, None
        assert features is not None
        flat = features.flatten(2)
        pooled = torch.cat([flat.mean(dim=2), flat.amax(dim=2)], dim=1)
        found = torch.cat([head(pooled) for head in self.heads], dim=1)  # (B, H)
        if (
            isinstance(output, Tensor) and output.ndim == self.spatial_dims + 3
        ):  # DynUNet stacks: (B, maps, K, *spatial)
            output = output.unbind(dim=1)
        first, *rest = output if isinstance(output, list | tuple) else [output]
        spread = found.view(*found.shape, *[1] * self.spatial_dims).expand(-1, -1, *first.shape[2:])
        whole = torch.cat([first, spread.to(first.dtype)], dim=1)
        return [whole, *rest] if rest else whole


def _head(features: int, hidden: int, outputs: int, dropout: float) -> nn.Module:
    """Pooled features are of any size, and units that are 0 for all images learn nothing more: so they are normalised, and
    the units never 0 throughout."""
    return nn.Sequential(
        nn.LayerNorm(features), nn.Linear(features, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, outputs)
    )
