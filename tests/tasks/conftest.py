"""A fast Trainer without traces on disk, and tasks around any network."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from monai.inferers import SimpleInferer
from torch.optim.lr_scheduler import ConstantLR
from torch.utils.data import DataLoader

from medexp.data.cases import collate
from medexp.optim.schedule import Schedule
from medexp.tasks.base import Task

Items = list[dict[str, Any]]


@pytest.fixture
def make() -> Callable[..., Task]:
    """make(Segmentation, net=..., loss=..., out_channels=..., ...)."""

    def task(kind: type[Task], **options: Any) -> Task:
        defaults: dict[str, Any] = {
            "optimizer": partial(torch.optim.AdamW, lr=1e-2, weight_decay=0.1),
            "scheduler": Schedule(partial(ConstantLR, factor=1.0), epochs=2),
            "inferer": SimpleInferer(),
            "metrics": {},
            "monitor": "val/loss",
            "mode": "min",
        }
        return kind(**{**defaults, **options})

    return task


@pytest.fixture
def fit(tmp_path: Path) -> Callable[..., pl.Trainer]:
    """fit(task, items): a step a batch of two, then validation on the same."""

    def run(task: Task, items: Items, epochs: int = 1, resume: Path | None = None, **options: Any) -> pl.Trainer:
        quiet = {"enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
        trainer = pl.Trainer(
            accelerator="cpu", max_epochs=epochs, logger=False, log_every_n_steps=1, num_sanity_val_steps=0,
            default_root_dir=tmp_path, **{**quiet, **options},
        )  # fmt: skip
        loader = DataLoader(items, batch_size=2, collate_fn=collate)  # type: ignore[arg-type]
        trainer.fit(task, loader, loader, ckpt_path=resume, weights_only=True if resume else None)
        return trainer

    return run
