"""What a network says, taken for labels."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

EXCLUSIVE = ("mask", "index")  # kinds of targets of which a voxel or image has one class: softmax; others: sigmoid


class Said(NamedTuple):
    """labels: class indices (B, *spatial), or a yes or no of each label as floats (B, K). confidence: the probability of what
    is said, in that shape."""

    labels: Tensor
    confidence: Tensor


def said(scores: Tensor, target: str) -> Said:
    """The most probable labels, of which no gradient is taken. scores: (B, K, *spatial) or (B, K)."""
    scores = scores.detach()
    if target in EXCLUSIVE:
        confidence, labels = torch.softmax(scores, dim=1).max(dim=1)
        return Said(labels, confidence)
    yes = torch.sigmoid(scores)
    return Said((yes > 0.5).float(), torch.maximum(yes, 1 - yes))


def against(scores: Tensor, labels: Tensor, target: str) -> Tensor:
    """Cross-entropy with such labels, in their shape."""
    if target in EXCLUSIVE:
        return F.cross_entropy(scores, labels, reduction="none")
    return F.binary_cross_entropy_with_logits(scores, labels, reduction="none")
