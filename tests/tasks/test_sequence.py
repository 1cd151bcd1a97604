"""Next values and next frames: their own units, the training split's scale, changes, and what a batch must hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torchmetrics import MeanAbsoluteError

from medexp.errors import UserError
from medexp.losses.distance import MeanSquaredError
from medexp.models.sequence import Recurrent, SequenceNet
from medexp.models.simple_cnn import SimpleCNN
from medexp.tasks.base import Task
from medexp.tasks.sequence import NextFrame, NextValue

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers", "ignore:.*tensorboardX", "ignore:.*LeafSpec"
)
Make, Fit = Callable[..., Task], Callable[..., pl.Trainer]


class Split:
    def __init__(self, *targets: list[float]) -> None:
        self.targets = torch.tensor(targets)

    def training_targets(self) -> Tensor:
        return self.targets


class Says(nn.Module):
    """A network that gives one number for everything, and remembers the values it was told."""

    def __init__(self, score: float, horizon: int = 1) -> None:
        super().__init__()
        self.score = nn.Parameter(torch.full((1, horizon), score))
        self.told: Tensor | None = None

    def forward(self, image: Tensor, frames: Tensor | None = None, values: Tensor | None = None) -> Tensor:
        self.told = values
        return self.score.expand(len(image), -1)


def options(net: nn.Module, **more: Any) -> dict[str, Any]:
    return {
        "kind": NextValue, "net": net, "loss": MeanSquaredError(), "out_channels": 1,
        "metrics": {"mae": MeanAbsoluteError()}, **more,
    }  # fmt: skip


def batch(**more: Any) -> dict[str, Any]:
    return {
        "image": torch.randn(2, 3, 1, 8, 8), "frames": torch.tensor([3, 2]), "case_id": ["a", "b"],
        "values": torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 0.0]]), "target": torch.tensor([[4.0], [7.0]]), **more,
    }  # fmt: skip


def test_scores_of_a_network_are_standardised_values_of_the_training_split(make: Make) -> None:
    task = make(**options(Says(0.0))).eval()
    task.learn(Split([0.0, 2.0], [0.0, 4.0], [0.0, 9.0]))  # type: ignore[operator]
    with torch.no_grad():
        assert task.predict_step(batch(), 0).flatten().tolist() == [5, 5]
        task.net.score.fill_(1.0)
        torch.testing.assert_close(task.predict_step(batch(), 0), torch.full((2, 1), 5 + 13**0.5))
        step = task.step(batch(target=torch.full((2, 1), 5 + 13**0.5)))
    assert float(step.loss) == pytest.approx(0.0, abs=1e-6)  # of standardised values


def test_a_change_is_added_to_the_last_value_of_each_study(make: Make) -> None:
    task = make(**options(Says(0.0), change=True)).eval()
    task.learn(Split([1.0, 2.0], [1.0, 4.0]))  # type: ignore[operator]  # changes of 1 and 3
    with torch.no_grad():
        assert task.predict_step(batch(), 0).flatten().tolist() == [5, 7]  # 3 + 2, 5 + 2: not the padded 0
    lacking = {key: value for key, value in batch().items() if key != "values"}
    with pytest.raises(UserError, match=r"task.change: true needs the value at the last frame"):
        task.predict_step(lacking, 0)


def test_each_horizon_has_its_own_scale(make: Make) -> None:
    task = make(**options(Says(0.0, horizon=2), horizon=2)).eval()
    task.learn(Split([0.0, 1.0, 10.0], [0.0, 3.0, 30.0]))  # type: ignore[operator]
    with torch.no_grad():
        assert task.predict_step(batch(), 0)[0].tolist() == [2, 20]


def test_a_network_is_told_values_on_the_scale_of_the_training_split(make: Make) -> None:
    task = make(**options(Says(0.0)))
    task.learn(Split([1.0, 3.0], [5.0, 7.0]))  # type: ignore[operator]
    task.step(batch())
    told = (batch()["values"] - 4.0) / torch.tensor([1.0, 3.0, 5.0, 7.0]).std()
    torch.testing.assert_close(task.net.told, told)


def test_values_that_do_not_differ_cannot_be_learnt(make: Make) -> None:
    with pytest.raises(UserError, match="do not differ"):
        make(**options(Says(0.0))).learn(Split([0.0, 2.0], [1.0, 2.0]))  # type: ignore[operator]


def test_the_scale_is_kept_with_the_weights(make: Make) -> None:
    task, again = make(**options(Says(0.0))), make(**options(Says(1.0)))
    task.learn(Split([0.0, 2.0], [0.0, 4.0]))  # type: ignore[operator]
    again.load_state_dict(task.state_dict())
    with torch.no_grad():
        assert again.eval().predict_step(batch(), 0).flatten().tolist() == [3, 3]


def study(index: int, frame: bool) -> dict[str, Any]:
    total = 2 + index % 2
    image = torch.randn(total, 1, 8, 8, generator=torch.Generator().manual_seed(index))
    item = {
        "image": image,
        "frames": torch.tensor(total),
        "times": -torch.arange(total, 0, -1.0),
        "case_id": str(index),
    }
    return item | {"target": image[-1] / 2 if frame else image.mean().reshape(1)}


@pytest.mark.parametrize("frame", [False, True])
def test_studies_of_several_lengths_train_and_are_logged(make: Make, fit: Fit, frame: bool) -> None:
    torch.manual_seed(0)
    encoder = nn.Conv2d(1, 8, 3, padding=1) if frame else SimpleCNN(2, 1, 8, channels=(4,), hidden=8)
    net = SequenceNet(encoder, Recurrent("gru", 8, 8), features=8, out_channels=1, change=frame)
    task = make(**options(net, kind=NextFrame if frame else NextValue))
    before = [parameter.detach().clone() for parameter in net.scores.parameters()]
    logged = fit(task, [study(i, frame) for i in range(4)], epochs=2).callback_metrics
    assert {"train/loss", "val/loss", "lr", "val/mae"} == logged.keys()
    assert all(torch.isfinite(value) for value in logged.values())
    assert not any(torch.equal(a, b) for a, b in zip(before, net.scores.parameters(), strict=True))
