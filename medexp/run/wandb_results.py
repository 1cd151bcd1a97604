"""A finished run's results on its wandb run: summary, figures with mask overlay, a per-case table without identifiers."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pandas as pd

from medexp.run import folder
from medexp.run.figures import SLICES


def pseudonym(case_id: str, run: Path) -> str:
    """A name for a case that says nothing about the patient; per_case.csv in the run folder has the real ids, row by row."""
    return hashlib.sha256(f"{run.name}\x1f{case_id}".encode()).hexdigest()[:10]


def publish(logger: Any, cfg: dict[str, Any], run: Path, classes: list[str]) -> None:
    """Adds config, test metrics, overlays and the per-case table to a WandbLogger's run, and finishes it."""
    import wandb

    active = logger.experiment
    active.config.update(_config(cfg), allow_val_change=True)
    summary = folder.read_json(run / folder.SUMMARY)
    for name, entry in summary["metrics"].items():
        if isinstance(entry, dict) and entry.get("mean") is not None:
            active.summary[f"test/{name}"] = entry["mean"]
    table = pd.read_csv(run / folder.PER_CASE)
    table["case_id"] = [pseudonym(str(case), run) for case in table["case_id"]]
    log: dict[str, Any] = {
        "test/per_case": wandb.Table(dataframe=table.astype(object).where(table.notna(), None)),
    }
    slices = run / "figures" / SLICES
    figures = sorted((run / "figures").glob("*.png"))
    images = _overlays(slices, classes) if slices.is_file() else [wandb.Image(str(path)) for path in figures]
    log |= {f"test/case_{number}": image for number, image in enumerate(images, start=1)}  # a list must be of one size
    active.log(log)
    wandb.finish()


def _overlays(path: Path, classes: list[str]) -> list[Any]:
    """Images with label and prediction as mask overlays that can be switched in the dashboard."""
    import numpy as np
    import wandb

    names = dict(enumerate(classes))
    images = []
    with np.load(path, allow_pickle=False) as planes:
        for number in range(1, len(planes.files) // 3 + 1):
            parts = {"ground truth": planes[f"label_{number}"], "prediction": planes[f"prediction_{number}"]}
            masks = {key: {"mask_data": mask, "class_labels": names} for key, mask in parts.items()}
            images.append(wandb.Image(planes[f"image_{number}"], masks=masks))
    return images


def _config(cfg: dict[str, Any]) -> dict[str, Any]:
    """The config less what names places on this machine."""
    hidden = {"run_dir", "data_root", "cache_dir", "root", "store", "path", "save_dir", "dirpath", "resume"}
    if isinstance(cfg, dict):
        return {key: _config(value) for key, value in cfg.items() if key not in hidden}
    return cfg
