"""A task of one small network, and a fit of a few steps."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from monai.inferers import SimpleInferer
from torch import Tensor, nn
from torch.optim.lr_scheduler import ConstantLR
from torch.utils.data import DataLoader

from medexp.data.cases import collate
from medexp.losses.cross_entropy import CrossEntropy
from medexp.optim.schedule import Schedule
from medexp.tasks.base import Task
from medexp.tasks.classification import Classification
from medexp.trainer import Trainer

STEPS = 3  # an epoch


class Net(nn.Module):
    """Convolution, norm, dropout and a dense layer. (torch.compile leaves a bare nn.Sequential as it is.)"""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.convolution, self.norm, self.dropout = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(dropout)
        self.dense = nn.Linear(4, 3)

    def forward(self, image: Tensor) -> Tensor:
        features = self.dropout(torch.relu(self.norm(self.convolution(image))))
        scores: Tensor = self.dense(features.mean(dim=(2, 3)))
        return scores


@pytest.fixture
def make() -> Callable[..., Task]:
    """make(dropout=0.3, **options of the task): the same weights each time."""

    def task(dropout: float = 0.3, **options: Any) -> Task:
        torch.manual_seed(0)
        defaults: dict[str, Any] = {
            "net": Net(dropout), "loss": CrossEntropy(), "optimizer": partial(torch.optim.AdamW, lr=1e-2), "metrics": {},
            "scheduler": Schedule(partial(ConstantLR, factor=1.0)), "inferer": SimpleInferer(), "out_channels": 3,
            "monitor": "val/loss", "mode": "min",
        }  # fmt: skip
        return Classification(**{**defaults, **options})

    return task


@pytest.fixture
def fit(tmp_path: Path) -> Callable[..., Trainer]:
    """fit(task, callbacks, epochs=1, resume=None, **options of the trainer): two cases a step, validated on the same."""

    def run(
        task: Task, callbacks: list[pl.Callback], epochs: int = 1, resume: Path | None = None, **options: Any
    ) -> Trainer:
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        trainer = Trainer(
            accelerator="cpu", devices=1, max_epochs=epochs, num_sanity_val_steps=0, enable_model_summary=False,
            default_root_dir=tmp_path, callbacks=callbacks, **{**quiet, **options},
        )  # fmt: skip
        generator = torch.Generator().manual_seed(0)
        items = [
            {"image": torch.randn(1, 8, 8, generator=generator), "target": torch.tensor([i % 3]), "case_id": str(i)}
            for i in range(2 * STEPS)
        ]
        loader = DataLoader(items, batch_size=2, collate_fn=collate)  # type: ignore[arg-type]
        trainer.fit(task, loader, loader, ckpt_path=resume, weights_only=True if resume else None)
        return trainer

    return run
