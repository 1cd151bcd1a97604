"""Whether what a network is given beside one plain image fits: modalities that may be missing, covariates, neighbours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def problems(cfg: dict[str, Any]) -> Iterator[str]:
    """What does not fit of data set, augmentation and model."""
    dataset, model = cfg["dataset"], cfg["model"]
    if cfg["augmentation"].get("modality_dropout"):
        yield from _dropout(dataset, cfg["augmentation"]["modality_dropout"])
    if "covariates" in model and not model["covariates"]:
        where = "name columns of its table: dataset.covariates=[age,sex]"
        yield f"model: {model['_target_']} joins images with covariates, dataset.covariates names none; {where}, or choose another model"
    if model["_target_"].endswith(".Fusion") and dataset["in_channels"] < 2:
        yield f"model: {model['_target_']} fuses modalities, dataset.in_channels is {dataset['in_channels']}; choose another model"


def _dropout(dataset: dict[str, Any], share: float) -> Iterator[str]:
    key = f"augmentation.modality_dropout: {share}"
    if dataset["in_channels"] < 2:
        yield f"{key}, but dataset.in_channels is {dataset['in_channels']}: nothing would be left; set it to 0"
    elif dataset.get("neighbours"):
        yield f"{key}, but channels are neighbouring slices (dataset.neighbours); set it to 0"
    elif dataset.get("sequence"):
        yield f"{key}, but the channels of dataset.sequence are frames; set it to 0"
    elif dataset.get("missing", "error") != "zero":
        yield f"{key} trains for cases that lack a modality; set dataset.missing=zero, which lets them in, or set it to 0"
