"""Targets and class weights in the form that a loss works on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from medexp.errors import UserError


def one_hot(target: Tensor, num_classes: int) -> Tensor:
    """Class indices (B, 1, *spatial) to (B, K, *spatial), float32. With one class the indices 0 and 1 are the target itself."""
    if num_classes == 1:
        return target.float()
    return F.one_hot(target.squeeze(1).long(), num_classes).movedim(-1, 1).float()


def class_weights(key: str, weight: Sequence[float] | str | None) -> Tensor | None:
    """Weights of a config as a tensor (K,). Raises UserError for a string: `auto` is filled before a loss is made."""
    if weight is None:
        return None
    if isinstance(weight, str):
        raise UserError(f"loss.{key}: '{weight}' is not a list of one number a class; allowed: a list, auto, null")
    return torch.as_tensor(weight, dtype=torch.float32).reshape(-1)


def check_weights(key: str, weight: Tensor | None, num_classes: int) -> None:
    """Raises UserError where the number of weights is not the number of channels scored."""
    if weight is not None and len(weight) != num_classes:
        raise UserError(
            f"loss.{key}: {len(weight)} weights for {num_classes} classes; give one number a class, or auto"
        )
