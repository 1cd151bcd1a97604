"""Survival: what is learnt from the training split beside the weights, and that a checkpoint forecasts alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from medexp.data.cases import collate
from medexp.errors import UserError
from medexp.losses.cox import Cox
from medexp.losses.discrete_hazards import DiscreteHazards as DiscreteLikelihood
from medexp.metrics.forecast import unpack
from medexp.metrics.survival import CIndex
from medexp.models.hazards import DiscreteHazards, Hazards, ProportionalHazards
from medexp.tasks.base import Task
from medexp.tasks.survival import Survival

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers", "ignore:.*tensorboardX", "ignore:.*LeafSpec"
)
TARGETS = [[float(time), float(time % 4 != 0)] for time in range(1, 13)]
HEADS: dict[str, tuple[Callable[[], Hazards], type[nn.Module], int]] = {
    "cox": (ProportionalHazards, Cox, 1),
    "hazards": (lambda: DiscreteHazards(3), DiscreteLikelihood, 3),
}


class Data(pl.LightningDataModule):
    """Images whose brightness is the hazard."""

    def __init__(self, targets: list[list[float]]) -> None:
        super().__init__()
        self.items = [
            {"image": torch.full((1, 4, 4), 2 - time / 4), "case_id": str(time), "target": torch.tensor([time, event])}
            for time, event in targets
        ]

    def training_targets(self) -> Tensor:
        return torch.stack([item["target"] for item in self.items])

    def training_cases(self) -> Iterator[dict[str, Any]]:
        return iter(self.train_dataloader())

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        return DataLoader(self.items, batch_size=5, collate_fn=collate)  # type: ignore[arg-type]

    val_dataloader = train_dataloader


@pytest.fixture(params=HEADS)
def task(request: pytest.FixtureRequest, make: Callable[..., Task]) -> Survival:
    head, loss, width = HEADS[request.param]
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, width))
    built = make(
        Survival, net=net, loss=loss(), head=head(), out_channels=width, metrics={"cindex": CIndex()},
        horizons=[3.0, 6.0], monitor="val/cindex", mode="max",
    )  # fmt: skip
    assert isinstance(built, Survival)
    return built


def trained(task: Survival, data: Data, folder: Path, epochs: int = 30) -> pl.Trainer:
    quiet = {
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
    }
    trainer = pl.Trainer(accelerator="cpu", max_epochs=epochs, logger=False, default_root_dir=folder, **quiet)  # type: ignore[arg-type]
    task.learn(data)
    trainer.fit(task, datamodule=data)
    return trainer


def test_brighter_images_come_to_be_of_higher_risk_and_a_checkpoint_forecasts_alone(
    task: Survival, make: Callable[..., Task], tmp_path: Path
) -> None:
    data = Data(TARGETS)
    trainer = trained(task, data, tmp_path)
    assert trainer.callback_metrics["val/cindex"] == 1
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    name = "cox" if isinstance(task.head, ProportionalHazards) else "hazards"
    head, loss, width = HEADS[name]
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, width))
    other = make(Survival, net=net, loss=loss(), head=head(), out_channels=width, horizons=[3.0, 6.0])
    other.load_state_dict(torch.load(tmp_path / "a.ckpt", weights_only=True)["state_dict"])
    batch = collate(data.items)
    with torch.no_grad():
        first, again = (one.eval().predict_step(batch, 0) for one in (task, other))
    assert torch.equal(first, again)
    found = [unpack(vector.numpy()) for vector in first]
    assert found[0].horizons.tolist() == [3.0, 6.0]
    assert found[0].risk > found[-1].risk
    assert (found[0].high, found[-1].high) == (True, False)
    assert sum(forecast.high for forecast in found) == 6  # half of the training split
    assert found[0].survival[1] < 0.5 < found[-1].survival[1]
    assert all((forecast.curve[1:] <= forecast.curve[:-1] + 1e-6).all() for forecast in found)


def test_who_cannot_tell_cases_apart_says_kaplan_meier(make: Callable[..., Task], tmp_path: Path) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 1))
    nn.init.zeros_(net[1].weight)
    net[1].weight.requires_grad_(False)
    task = make(Survival, net=net, loss=Cox(), head=ProportionalHazards(), out_channels=1)
    assert isinstance(task, Survival)
    data = Data([[float(time), 1.0] for time in range(1, 101)])
    trained(task, data, tmp_path, epochs=1)
    with torch.no_grad():
        survival = unpack(task.eval().predict_step(collate(data.items[:1]), 0)[0].numpy())
    seen = [sum(time > at for time, _ in data.training_targets().tolist()) / 100 for at in survival.grid]
    assert abs(survival.curve - seen).max() < 0.01  # Breslow's estimate is nearly that


def test_horizons_are_quartiles_of_the_events_where_none_are_asked(make: Callable[..., Task]) -> None:
    task = make(Survival, net=nn.Identity(), loss=Cox(), head=ProportionalHazards(), out_channels=1)
    task.learn(Data([[float(time), 1.0] for time in range(1, 6)] + [[50.0, 0.0]]))  # type: ignore[operator]
    assert task.horizons.tolist() == [2, 3, 4]  # type: ignore[union-attr,operator]
    assert task.grid[-1] == pytest.approx(4.8)  # type: ignore[index]


def test_a_training_split_without_events_is_refused(task: Survival) -> None:
    with pytest.raises(UserError, match="dataset: all 2 training cases are censored"):
        task.learn(Data([[3.0, 0.0], [4.0, 0.0]]))


@pytest.mark.parametrize("horizons", [[], [0.0, 5.0]])
def test_horizons_are_times(make: Callable[..., Task], horizons: list[float]) -> None:
    with pytest.raises(UserError, match=r"task\.horizons: .*times above 0 are needed, or null"):
        make(Survival, net=nn.Identity(), loss=Cox(), head=ProportionalHazards(), out_channels=1, horizons=horizons)
