"""Modalities that a case lacks, and such that training takes away (modality dropout)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor


def lacking(item: Mapping[str, Any], probability: float, random: np.random.RandomState) -> dict[str, Any]:
    """What changes of an item for the modalities that it lacks: "image" (C, *spatial), zero in their channels whatever was
    added to them before, and "present" (C,), where the item has it.

    Each modality that is there is taken away with `probability`, never the last one (ModDrop, Neverova 2016,
    arXiv:1501.00102). Nothing is drawn where that is 0, and nothing changes where none is lacking.
    """
    if not probability and "present" not in item:
        return {}
    image: Tensor = item["image"]
    there = item["present"].cpu().numpy() > 0 if "present" in item else np.ones(len(image), bool)
    kept = there
    if probability:
        draws = random.rand(len(there))
        kept = there & (draws >= probability)
        if not kept.any():
            kept = there & (np.arange(len(there)) == np.where(there, draws, -1.0).argmax())
    if kept.all() or len(kept) != len(image):  # frames of a study are no modalities
        return {}
    mask = torch.from_numpy(kept).to(image.device)
    changed = {"image": image.masked_fill(~mask.reshape(-1, *[1] * (image.ndim - 1)), 0.0)}
    return changed | ({"present": mask.to(item["present"].dtype)} if "present" in item else {})
