"""Runs that a new one stands on: whether its test patients had a part in them is said, for then scores say less."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from medexp import build
from medexp.data.module import DataModule
from medexp.errors import UserError
from medexp.run import folder

log = logging.getLogger(__name__)
ADVICE = "test scores say nothing of new patients; give both runs one seed or one split file (dataset.split.file)"


def warn(cfg: dict[str, Any], data: DataModule) -> None:
    """Says how many test patients each run behind this config was trained on, or chosen by."""
    for key, source in _sources(cfg).items():
        warn_of(key, source, data)


def _sources(cfg: dict[str, Any]) -> dict[str, Path]:
    """Run folders by key: of an autoencoder in whose latent is diffused, of a loss that looks through a network, of what made
    synthetic cases. Those of weights to begin with are known where these are loaded."""
    found: dict[str, Path] = {}
    autoencoder = cfg["task"].get("autoencoder")
    if isinstance(autoencoder, dict):
        found["task.autoencoder"] = Path(autoencoder["weights"]).parents[1]
    if "net" in cfg["loss"] and cfg["loss"].get("weights"):
        found["loss.run"] = Path(cfg["loss"]["weights"])
    synthetic = cfg["dataset"].get("synthetic")
    if synthetic:
        about = Path(str(synthetic["root"])).expanduser() / "generate.json"
        known = folder.read_json(about) if about.is_file() else {}
        if isinstance(known, dict) and known.get("run"):
            found["dataset.synthetic"] = Path(known["run"])
    return found


def warn_of(key: str, source: Path, data: DataModule) -> None:
    """Says how many test patients a source run was trained on, or chosen by, where both read one data set."""
    if not (source / folder.CONFIG).is_file() or not (source / folder.SPLIT).is_file():
        return
    try:
        cfg = folder.load(source)
        if Path(cfg["dataset"]["root"]).resolve() != data.root.resolve():
            return
        split = folder.read_json(source / folder.SPLIT)
        patients = {record.case_id: record.group for record in build.datamodule(cfg).records()}
    except UserError as error:
        log.warning("%s: whether %s was trained on patients of the test split is not known: %s", key, source, error)
        return
    learnt = {patients.get(case, case) for part in ("train", "val", "unlabelled") for case in split.get(part, [])}
    tested = {record.group for record in data.parts()["test"]}
    if found := sorted(learnt & tested):
        log.warning(
            "%s: %d of %d test patients (e.g. %s) were in training or validation of %s: %s",
            *(key, len(found), len(tested), found[0], source, ADVICE),
        )
