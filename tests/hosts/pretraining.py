"""Leaves of pretraining without labels: on the 2D phantom."""

from __future__ import annotations

from typing import Any

LOSSES = {"contrastive": "pretrain_contrastive", "info_nce": "pretrain_moco", "barlow_twins": "pretrain_barlow"}


def host(group: str, option: str, line: str) -> list[list[str]]:
    if "pretraining" not in line.lower() or group not in ("task", "metrics", "loss", "degradation"):
        return []
    if "restoration" in option or option in ("models_genesis", "masked_patches"):
        parts = {"task": "pretrain_restoration", "degradation": "models_genesis"}
        return [["experiment=translation/phantom_denoising", *(f"{k}={v}" for k, v in parts.items() if k != group)]]
    task = option if group in ("task", "metrics") else LOSSES.get(option, "pretrain_contrastive")
    loss = next(loss for loss, own in LOSSES.items() if own == task)
    parts = {"task": task, "loss": loss}
    given = [f"{key}={value}" for key, value in parts.items() if key != group]
    return [["experiment=pretraining/phantom_presence_2d", *given]]


def small_data(experiment: str, root: Any, layouts: Any, request: Any) -> list[str] | None:
    if experiment != "pretraining/hippocampus_restoration":
        return None
    return [f"dataset.root={layouts.msd(root / 'msd', classes=3)}", "dataset.patch_size=[16,16,16]"]


def exchanged(experiment: str) -> list[str] | None:
    if experiment != "pretraining/hippocampus_restoration":
        return None
    changes = [
        "model=restoration",
        "~model.deep_supervision",
        "optimizer=sgd",
        "scheduler=plateau",
        "augmentation=none",
    ]
    return [*changes, "inferer=whole_by_16", "dataset.patch_size=[32,32,32]"]
