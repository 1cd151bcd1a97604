"""What detection adds to a task: measured scores, the typical size, objects for maps, heads of deep supervision."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from monai.losses import DiceCELoss
from monai.networks.nets import DynUNet
from torch import Tensor, nn

from medexp.errors import UserError
from medexp.losses.center_heatmap import CenterHeatmap
from medexp.tasks.base import Task
from medexp.tasks.detection import PRIOR, Detection
from medexp.tasks.instances import Instances

Make = Callable[..., Task]


class Says(nn.Module):
    """Scores (1, K, *spatial) whatever the image is."""

    def __init__(self, scores: Tensor) -> None:
        super().__init__()
        self.scores = nn.Parameter(scores)

    def forward(self, image: Tensor) -> Tensor:
        return self.scores.expand(len(image), *self.scores.shape[1:])


class Split:
    def __init__(self, boxes: Tensor) -> None:
        self.boxes = boxes

    def training_boxes(self) -> Tensor:
        return self.boxes


def detection(make: Make, scores: Tensor, **options: Any) -> Detection:
    found = make(Detection, net=Says(scores), loss=CenterHeatmap(), out_channels=scores.shape[1], **options)
    assert isinstance(found, Detection)
    return found


def test_predictions_are_objects_in_voxels_of_the_image(make: Make) -> None:
    scores = torch.full((1, 5, 16, 16), -5.0)
    scores[0, :, 4, 6] = torch.tensor([-PRIOR + math.log(3), 0.0, math.log(2), 0.05, -0.025])
    task = detection(make, scores, size=10.0).eval()
    found = task.predict_step({"image": torch.zeros(2, 1, 16, 16)}, 0)
    assert found.shape == (2, 1, 6)
    torch.testing.assert_close(found[0, 0], torch.tensor([0.0, -3.75, 10.0, 16.25, 0.75, 0.0]))


def test_the_typical_size_comes_from_the_training_split_and_stays_in_the_checkpoint(make: Make) -> None:
    scores = torch.zeros(1, 5, 8, 8)
    task = detection(make, scores)
    task.learn(Split(torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 16], [0, 0, 16, 64]])))
    assert task.size.item() == pytest.approx(10.079, rel=1e-3)  # (4 * 4 * 4 * 16 * 16 * 64) ** (1 / 6)
    other = detection(make, scores)
    other.load_state_dict(task.state_dict())
    assert other.size == task.size
    given = detection(make, scores, size=7)
    given.learn(Split(torch.tensor([[0.0, 0, 4, 4]])))
    assert given.size == 7
    with pytest.raises(UserError, match="no training case has an object"):
        task.learn(Split(torch.zeros(0, 4)))


def test_heads_of_deep_supervision_are_weighted_by_halves(make: Make) -> None:
    torch.manual_seed(0)
    options: dict[str, Any] = {"kernel_size": [3, 3, 3], "strides": [1, 2, 2], "upsample_kernel_size": [2, 2]}
    net = DynUNet(2, 1, 5, **options, filters=[4, 8, 8], deep_supervision=True, deep_supr_num=1)
    task = make(Detection, net=net, loss=CenterHeatmap(), out_channels=5, size=4.0)
    boxes, kinds = torch.tensor([[[2.0, 2, 8, 9]]]), torch.zeros(1, 1)
    batch = {"image": torch.randn(1, 1, 16, 16), "boxes": boxes, "box_classes": kinds}
    heads = task.net(batch["image"])
    target, loss = torch.cat([boxes, kinds[..., None]], dim=-1), CenterHeatmap()
    wanted = loss(task.measured(heads[:, 0]), target) + 0.5 * loss(task.measured(heads[:, 1]), target)  # type: ignore[operator]
    torch.testing.assert_close(task.step(batch).loss, wanted)


def test_masks_become_objects(make: Make) -> None:
    scores = torch.zeros(1, 2, 8, 8)
    scores[0, 0] = 4
    scores[0, 1, 2:5, 1:4] = 8
    loss: Any = DiceCELoss(softmax=True, to_onehot_y=True)
    task = make(Instances, net=Says(scores), loss=loss, out_channels=2).eval()
    batch = {"image": torch.zeros(1, 1, 8, 8), "label": (scores[:, 1:] > 0).byte()}
    found = task.predict_step(batch, 0)
    chance = 1 / (1 + math.exp(-4))
    torch.testing.assert_close(found, torch.tensor([[[2.0, 1, 5, 4, chance, 0]]]))
    torch.testing.assert_close(task.step(batch).loss, loss(scores, batch["label"]))
