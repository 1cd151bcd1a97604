"""Leaves of pretraining without labels: on the 2D phantom."""

from __future__ import annotations

LOSSES = {"contrastive": "pretrain_contrastive", "info_nce": "pretrain_moco", "barlow_twins": "pretrain_barlow"}


def host(group: str, option: str, line: str) -> list[list[str]]:
    if "pretraining" not in line.lower() or group not in ("task", "metrics", "loss", "degradation"):
        return []
    task = option if group in ("task", "metrics") else LOSSES.get(option, "pretrain_contrastive")
    loss = next(loss for loss, own in LOSSES.items() if own == task)
    parts = {"task": task, "loss": loss}
    given = [f"{key}={value}" for key, value in parts.items() if key != group]
    return [["experiment=pretraining/phantom_presence_2d", *given]]
