"""Schedules as Lightning steps them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR, ReduceLROnPlateau
from torch.utils.data import DataLoader

from medexp.optim.groups import parameter_groups
from medexp.optim.schedule import Schedule

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers", "ignore:.*tensorboardX", "ignore:.*LeafSpec"
)


class Recorder(pl.LightningModule):
    """Trains one weight; `rates` gets the learning rate of each epoch; the validation value never improves."""

    def __init__(self, schedule: Schedule) -> None:
        super().__init__()
        self.net, self.schedule, self.rates = nn.Linear(1, 1), schedule, []

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self.net(batch).square().mean()

    def on_train_epoch_start(self) -> None:
        self.rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("val/dice", 0.5)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(parameter_groups(self, weight_decay=0.01), lr=0.1)
        return [optimizer], self.schedule.configure(optimizer, "val/dice", "max")


def rates(schedule: Schedule, epochs: int, every: int, folder: Path) -> list[float]:
    module, loader = Recorder(schedule), DataLoader(torch.ones(2, 1), batch_size=2)
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=epochs, check_val_every_n_epoch=every, num_sanity_val_steps=0,
        log_every_n_steps=1,
        default_root_dir=folder, **quiet,
    )  # fmt: skip
    trainer.fit(module, loader, loader)
    return module.rates


def test_warm_up_and_schedule_follow_each_other(tmp_path: Path) -> None:
    schedule = Schedule(partial(CosineAnnealingLR), warmup=1, epochs=5, horizon="T_max")
    found = rates(schedule, epochs=5, every=1, folder=tmp_path)
    assert found == pytest.approx([0.05, 0.1, 0.0853553, 0.05, 0.0146447], rel=1e-5)


def test_plateau_waits_for_validation_epochs(tmp_path: Path) -> None:
    schedule = Schedule(partial(ReduceLROnPlateau, factor=0.5, patience=0), warmup=1, epochs=8, frequency=2)
    found = rates(schedule, epochs=8, every=2, folder=tmp_path)
    # validated after epochs 1, 3, 5, 7: the first sets the best, each further one is no better
    assert found == pytest.approx([0.05, 0.1, 0.1, 0.1, 0.05, 0.05, 0.025, 0.025])
