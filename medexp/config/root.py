"""The typed skeleton of every experiment: a key that is not here fails at composition, in any YAML."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING


@dataclass
class Root:
    """What conf/train.yaml composes. Each group holds a `_target_` and its values, or a mapping of such nodes."""

    name: str = "default"  # run folders go to outputs/<name>/<time>; set to the experiment's name where one is chosen
    seed: int = 0
    run_dir: str | None = None  # where this run writes; default outputs/<name>/<time>
    resume: str | None = None  # a run folder to go on with
    monitor: str = MISSING  # the value that picks the best checkpoint and that a sweep compares
    mode: str = MISSING  # whether the monitored value is better when larger ("max") or smaller ("min")
    data_root: str = MISSING
    cache_dir: str = MISSING
    figures: int = 4  # test cases drawn into figures/
    task: dict[str, Any] = field(default_factory=dict)
    dataset: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    init: dict[str, Any] = field(default_factory=dict)
    loss: dict[str, Any] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)
    scheduler: dict[str, Any] = field(default_factory=dict)
    augmentation: dict[str, Any] = field(default_factory=dict)
    degradation: dict[str, Any] = field(default_factory=dict)
    learning: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    inferer: dict[str, Any] = field(default_factory=dict)
    trainer: dict[str, Any] = field(default_factory=dict)
    callbacks: dict[str, Any] = field(default_factory=dict)
    logger: dict[str, Any] = field(default_factory=dict)
