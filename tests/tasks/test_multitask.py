"""One network, several losses."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from monai.losses import DiceCELoss
from monai.networks.nets import DynUNet, UNet
from torch import Tensor, nn

from medexp.errors import UserError
from medexp.models.heads import PooledHeads
from medexp.tasks.multitask import MultiTask

TARGETS = {"presence": ["healthy", "lesion"], "volume": "ml", "grade": ["a", "b", "c"]}
TRAINING = torch.tensor([[0.0, 10.0, 0.0], [1.0, 30.0, 2.0]])
SPLIT = SimpleNamespace(training_targets=lambda: TRAINING)
SIZE = (16, 16)


def unet() -> nn.Module:
    return UNet(2, 1, 3, channels=(4, 8), strides=(2,))


def multitask(make: Any, net: nn.Module | None = None, **options: Any) -> MultiTask:
    torch.manual_seed(0)
    heads = PooledHeads(net or unet(), 2, 1, TARGETS)
    loss = DiceCELoss(to_onehot_y=True, softmax=True)
    task: MultiTask = make(MultiTask, net=heads, loss=loss, out_channels=3, targets=TARGETS, **options)
    task.learn(SPLIT)
    return task


@pytest.fixture
def batch() -> dict[str, Any]:
    torch.manual_seed(1)
    label = torch.randint(0, 3, (2, 1, *SIZE)).byte()
    return {"image": torch.randn(2, 1, *SIZE), "label": label, "target": TRAINING.clone(), "case_id": ["a", "b"]}


def losses(task: MultiTask, batch: dict[str, Any]) -> list[Tensor]:
    """Of the map and each head, from the network alone."""
    scores = task.net(batch["image"])
    flat = scores[:, 3:, 0, 0]
    volume = torch.tensor([-1.0, 1.0])  # standardised
    return [
        DiceCELoss(to_onehot_y=True, softmax=True)(scores[:, :3], batch["label"]),
        F.binary_cross_entropy_with_logits(flat[:, 0], torch.tensor([0.0, 1.0])),
        F.mse_loss(flat[:, 1], volume),
        F.cross_entropy(flat[:, 2:], torch.tensor([0, 2])),
    ]


def test_the_loss_is_the_weighted_sum_of_all(make: Any, batch: dict[str, Any]) -> None:
    task = multitask(make, weights={"map": 2.0, "volume": 0.5})
    parts = losses(task, batch)
    torch.testing.assert_close(task.step(batch).loss, 2 * parts[0] + parts[1] + 0.5 * parts[2] + parts[3])


def test_variances_weigh_the_losses_and_are_learnt(make: Any, batch: dict[str, Any]) -> None:
    task = multitask(make, uncertainty=True)
    assert task.log_variances is not None
    task.log_variances.data = torch.tensor([0.2, -0.3, 0.4, 0.0])
    spread, parts, shares = task.log_variances.detach(), losses(task, batch), [1.0, 1.0, 0.5, 1.0]
    wanted = sum(share * torch.exp(-s) * part + 0.5 * s for share, s, part in zip(shares, spread, parts, strict=True))
    loss = task.step(batch).loss
    torch.testing.assert_close(loss, wanted)
    loss.backward()
    assert task.log_variances.grad is not None
    assert (task.log_variances.grad != 0).all()


def test_maps_of_deep_supervision_are_learnt_too(make: Any, batch: dict[str, Any]) -> None:
    net = DynUNet(2, 1, 3, [3] * 3, [1, 2, 2], [2, 2], filters=[4, 8, 8], deep_supervision=True, deep_supr_num=1)
    task = multitask(make, net, weights={"presence": 0, "volume": 0, "grade": 0})
    first, second = task.net(batch["image"])
    loss = DiceCELoss(to_onehot_y=True, softmax=True)
    wanted = loss(first[:, :3], batch["label"]) + 0.5 * loss(second, batch["label"])
    torch.testing.assert_close(task.step(batch).loss, wanted)


def test_predictions_are_probabilities_and_values_in_their_unit(make: Any, batch: dict[str, Any]) -> None:
    task = multitask(make).eval()
    with torch.no_grad():
        found = task.predict_step(batch, 0)
        outputs = task.net(batch["image"])[:, 3:, 0, 0]
    assert found.shape == (2, 3 + 1 + 2 + 3, *SIZE)
    torch.testing.assert_close(found[:, :3].sum(dim=1), torch.ones(2, *SIZE))
    heads = found[:, 3:, 0, 0]
    assert torch.equal(found[:, 3:], heads[..., None, None].expand_as(found[:, 3:]))
    torch.testing.assert_close(heads[:, 0], torch.sigmoid(outputs[:, 0]))
    torch.testing.assert_close(heads[:, 1], 20 + 10 * outputs[:, 1])
    torch.testing.assert_close(heads[:, 2], torch.full((2,), 20.0))  # the mean predictor
    torch.testing.assert_close(heads[:, 3:].sum(dim=1), torch.ones(2))


def test_metrics_are_given_each_head_by_its_name(make: Any, batch: dict[str, Any]) -> None:
    task = multitask(make).eval()
    found, truth = task.metric_inputs(task.step(batch))
    assert {name: tuple(value.shape) for name, value in found.items()} == {
        "map": (2, 3, *SIZE), "presence": (2, 1), "volume": (2, 1), "grade": (2, 3)
    }  # fmt: skip
    assert truth["volume"].tolist() == [[10], [30]]
    assert truth["presence"].tolist() == [[0], [1]]
    assert truth["grade"].tolist() == [0, 2]
    assert torch.equal(truth["map"], batch["label"])


def test_a_weight_of_no_target_is_said(make: Any) -> None:
    with pytest.raises(UserError, match=r"task.weights.volum: no such target; did you mean 'volume'\?"):
        multitask(make, weights={"volum": 1.0})
    with pytest.raises(UserError, match=r"task.weights.map: -1 is below 0"):
        multitask(make, weights={"map": -1})


def test_only_classes_need_no_standard(make: Any, batch: dict[str, Any]) -> None:
    targets = {"presence": TARGETS["presence"]}
    task = make(
        MultiTask, net=PooledHeads(unet(), 2, 1, targets), loss=DiceCELoss(to_onehot_y=True, softmax=True),
        out_channels=3, targets=targets,
    )  # fmt: skip
    task.learn(SimpleNamespace(training_targets=lambda: TRAINING[:, :1]))
    step = task.step({**batch, "target": TRAINING[:, :1]})
    assert torch.isfinite(step.loss)
    assert task.eval().predict_step(batch, 0).shape == (2, 4, *SIZE)
