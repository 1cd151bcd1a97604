"""Whether cases that are cut out of volumes, or made up, suit the rest of the data set."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

LEARNT = ("image", "index", "binary", "ordinal")  # what made-up cases have: themselves, or one class


def problems(cfg: dict[str, Any]) -> Iterator[str]:
    """What does not fit of dataset.slabs and dataset.synthetic."""
    dataset = cfg["dataset"]
    if dataset.get("slabs"):
        if dataset["spatial_dims"] != 3:
            yield f"dataset.slabs: are of volumes, but dataset.spatial_dims is {dataset['spatial_dims']}; set it to null"
        yield from _alone(dataset, "slabs", ("plane", "sequence"))
    if dataset.get("synthetic"):
        if cfg["task"]["target"] not in LEARNT:
            seen = f"task.target is '{cfg['task']['target']}'"
            yield f"dataset.synthetic: holds images and a class each, but {seen}; set it to null, or learn classes"
        yield from _alone(dataset, "synthetic", ("plane", "sequence", "covariates", "unlabelled"))
        for key in ("inputs", "unpaired"):
            if (cfg.get("degradation") or {}).get(key):
                yield f"dataset.synthetic: images have no other modality to learn (degradation.{key}); set it to null"
    if dataset.get("draws", 1) > 1:
        yield from _alone(dataset, "draws", ("unlabelled",))  # whose number says how long an epoch is


def _alone(dataset: dict[str, Any], key: str, others: tuple[str, ...]) -> Iterator[str]:
    for other in others:
        if dataset.get(other):
            yield f"dataset.{key}: cannot be had with dataset.{other}; set one of them to null"
