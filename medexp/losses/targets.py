"""Targets and class weights in the form that a loss works on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from monai.networks.utils import one_hot as monai_one_hot
from torch import Tensor

from medexp.errors import UserError


def one_hot(target: Tensor, num_classes: int) -> Tensor:
    """Class indices (B, 1, *spatial) to (B, K, *spatial), float32. With K = 1 the indices 0 and 1 stay as they are."""
    if num_classes == 1:
        return target.float()
    return monai_one_hot(target, num_classes)


def log_likelihood(scores: Tensor, target: Tensor) -> Tensor:
    """Log of the probability that scores give the labels: (B, *spatial) of class indices (B, 1, *spatial) by softmax,
    (B, K, *spatial) of yes-or-no targets (floats 0 and 1, or one channel) by sigmoid. float32."""
    scores = scores.float()  # half precision loses small probabilities
    if scores.shape[1] > 1 and not target.is_floating_point():
        return torch.log_softmax(scores, dim=1).gather(1, target.long()).squeeze(1)
    return F.logsigmoid(torch.where(target > 0.5, scores, -scores))


def smoothed(target: Tensor, label_smoothing: float) -> Tensor:
    """Yes-or-no targets (floats) moved towards one half: 1 becomes 1 - s / 2 and 0 becomes s / 2, as cross-entropy over
    two classes has it (Szegedy et al. 2016, arXiv:1512.00567)."""
    return target * (1 - label_smoothing) + label_smoothing / 2 if label_smoothing else target


def check_smoothing(label_smoothing: float) -> float:
    """Raises UserError where it is no share."""
    if not 0 <= label_smoothing < 1:
        raise UserError(f"loss.label_smoothing: {label_smoothing} is not from 0 to below 1; 0.1 is usual, 0 is none")
    return label_smoothing


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
