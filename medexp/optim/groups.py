"""Which parameters weight decay applies to, and which learn at a lower rate."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from torch import nn

# Norm layers by base class where torch has one; instance norms and batch norms share `_NormBase`.
NORMS: tuple[type[nn.Module], ...] = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)
# Embeddings that networks hold as bare parameters: position tables and class tokens.
EMBEDDING_NAMES = ("position_embedding", "pos_embed", "position_bias_table", "cls_token", "mask_token")


def parameter_groups(
    module: nn.Module, weight_decay: float, rates: Mapping[int, float] | None = None
) -> list[dict[str, Any]]:
    """Parameter groups for an optimizer: decayed weights first, then the rest with `weight_decay` 0.

    rates: learning rates by the id of a parameter (see medexp.optim.layers.rates); groups of the highest come first.

    Decay applies to convolution kernels and matrices (more than one dimension) outside of norm layers and embeddings;
    biases, norm scales and embeddings are spared (He et al., "Bag of Tricks", 2019). Frozen parameters are left out, so
    are empty groups. Each group also says in `matrices` whether it holds kernels and matrices, which
    `medexp.optim.muon.MuonAdamW` needs and torch's optimizers pass over.
    """
    decayed: dict[float | None, list[nn.Parameter]] = defaultdict(list)  # by rate
    spared: dict[float | None, list[nn.Parameter]] = defaultdict(list)
    seen: set[int] = set()  # a parameter that two layers share is optimized once
    for owner in module.modules():
        for name, parameter in owner.named_parameters(recurse=False):
            if not parameter.requires_grad or id(parameter) in seen:
                continue
            seen.add(id(parameter))
            rate = None if rates is None else rates[id(parameter)]
            (decayed if _is_weight(owner, name, parameter) else spared)[rate].append(parameter)
    groups = []
    for rate in sorted({*decayed, *spared}, key=lambda rate: -(rate or 0.0)):
        own: dict[str, Any] = {} if rate is None else {"lr": rate}
        groups.append({"params": decayed[rate], "weight_decay": weight_decay, "matrices": True, **own})
        groups.append({"params": spared[rate], "weight_decay": 0.0, "matrices": False, **own})
    return [group for group in groups if group["params"]]


def _is_weight(owner: nn.Module, name: str, parameter: nn.Parameter) -> bool:
    if isinstance(owner, (*NORMS, nn.Embedding, nn.EmbeddingBag)):
        return False
    return parameter.ndim > 1 and not any(part in name for part in EMBEDDING_NAMES)
