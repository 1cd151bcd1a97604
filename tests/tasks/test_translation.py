"""Images from images: what the loss is of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from medexp.losses.distance import MeanSquaredError
from medexp.tasks.base import Task
from medexp.tasks.translation import Translation
from medexp.transforms.corruption import Corruption


def test_the_loss_of_hidden_patches_is_of_nothing_that_is_shown(make: Callable[..., Task]) -> None:
    task: Any = make(Translation, net=nn.Identity(), loss=MeanSquaredError(), out_channels=1, residual=False)
    image = torch.randn(1, 16, 16, generator=torch.Generator().manual_seed(0))
    batch = {key: value[None] for key, value in Corruption(masked=0.5, patch=4)({"image": image}, 0).items()}
    plain = {key: value for key, value in batch.items() if key != "hidden"}
    spoilt = batch["image"].masked_fill(~batch["hidden"], 9.0)  # what the network gives where it was shown the image
    assert torch.equal(task.step({**batch, "image": spoilt}).loss, task.step(batch).loss)
    assert torch.equal(task.step(batch).loss, task.step(plain).loss)
    assert task.step({**plain, "image": spoilt}).loss > 2 * task.step(plain).loss
    assert torch.equal(task.step({**batch, "image": spoilt}).scores, spoilt)
