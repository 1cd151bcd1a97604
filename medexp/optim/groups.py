"""Which parameters weight decay applies to."""

from __future__ import annotations

from typing import Any

from torch import nn

# Norm layers by base class where torch has one; instance norms and batch norms share `_NormBase`.
NORMS: tuple[type[nn.Module], ...] = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)
# Embeddings that networks hold as bare parameters: position tables and class tokens.
EMBEDDING_NAMES = ("position_embedding", "pos_embed", "position_bias_table", "cls_token", "mask_token")


def parameter_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups for an optimizer: decayed weights first, then the rest with `weight_decay` 0.

    Decay applies to convolution kernels and matrices (more than one dimension) outside of norm layers and embeddings;
    biases, norm scales and embeddings are spared (He et al., "Bag of Tricks", 2019). Frozen parameters are left out, so
    are empty groups. Each group also says in `matrices` whether it holds kernels and matrices, which
    `medexp.optim.muon.MuonAdamW` needs and torch's optimizers pass over.
    """
    decayed: list[nn.Parameter] = []
    spared: list[nn.Parameter] = []
    seen: set[int] = set()  # a parameter that two layers share is optimized once
    for owner in module.modules():
        for name, parameter in owner.named_parameters(recurse=False):
            if not parameter.requires_grad or id(parameter) in seen:
                continue
            seen.add(id(parameter))
            (decayed if _is_weight(owner, name, parameter) else spared).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": weight_decay, "matrices": True},
        {"params": spared, "weight_decay": 0.0, "matrices": False},
    ]
    return [group for group in groups if group["params"]]


def _is_weight(owner: nn.Module, name: str, parameter: nn.Parameter) -> bool:
    if isinstance(owner, (*NORMS, nn.Embedding, nn.EmbeddingBag)):
        return False
    return parameter.ndim > 1 and not any(part in name for part in EMBEDDING_NAMES)
