"""What the data set said of the config's open values goes to config.yaml, from which everything later rebuilds."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from medexp.data.module import DataModule
from medexp.run import folder

log = logging.getLogger(__name__)


def settled(cfg: dict[str, Any], data: DataModule, run: Path | None) -> dict[str, Any]:
    """The config with what the training split says of `dataset.covariates`, also where the model was told of them; written
    to the run folder, where one is given."""
    asked = cfg["dataset"].get("covariates")
    if not asked or asked == data.covariates:
        return cfg
    model = _told(cfg["model"], data.covariates)
    if model == cfg["model"]:
        log.info("dataset.covariates: not used, %s takes images alone", cfg["model"]["_target_"])
    made = {**cfg, "dataset": {**cfg["dataset"], "covariates": data.covariates}, "model": model}
    if run is not None:
        folder.write(run / folder.CONFIG, OmegaConf.to_yaml(OmegaConf.create(made)))
    return made


def _told(node: Any, covariates: dict[str, Any]) -> Any:
    """A model's node, or one of its parts."""
    if not isinstance(node, dict):
        return node
    return {key: covariates if key == "covariates" else _told(child, covariates) for key, child in node.items()}
