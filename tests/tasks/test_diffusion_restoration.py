"""Restoration by diffusion: what is drawn is fixed, and whoever knows the image restores it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from monai.networks.nets import DiffusionModelUNet
from torch import Tensor, nn

from medexp.data.cases import collate
from medexp.losses.distance import MeanSquaredError
from medexp.tasks.diffusion_restoration import DiffusionRestoration

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers", "ignore:.*tensorboardX", "ignore:.*LeafSpec"
)
Fit = Callable[..., pl.Trainer]


def item(index: int) -> dict[str, Any]:
    clean = torch.randn(1, 8, 8, generator=torch.Generator().manual_seed(index)) + 2
    return {"image": clean.roll(1, dims=2), "reference": clean, "case_id": str(index)}


ITEMS = [item(index) for index in range(4)]


class Data:
    patch_size = None

    def training_cases(self) -> Any:
        return ({"image": item["reference"][None]} for item in ITEMS)


class RollsBack(nn.Module):
    """Knows that degraded images, in the second channel, are shifted by a voxel."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor, timesteps: Tensor) -> Tensor:
        return x[:, 1:].roll(-1, dims=3) * self.weight


@pytest.fixture
def task(make: Callable[..., Any]) -> Callable[..., DiffusionRestoration]:
    def built(net: nn.Module | None = None, **options: Any) -> DiffusionRestoration:
        torch.manual_seed(0)
        unet = DiffusionModelUNet(2, 2, 1, 1, (8, 8), (False, False), norm_num_groups=4, num_head_channels=8)
        own = {"loss": MeanSquaredError(), "out_channels": 1, "spatial_dims": 2, "timesteps": 100, "steps": 4}
        made: DiffusionRestoration = make(DiffusionRestoration, net=net or unet, **{**own, **options})
        made.learn(Data())  # type: ignore[arg-type]
        return made

    return built


def test_whoever_knows_what_became_of_the_image_restores_it(task: Any) -> None:
    one = task(net=RollsBack(), prediction="sample").eval()
    batch = collate(ITEMS)
    torch.testing.assert_close(one.predict_step(batch, 0), batch["reference"], rtol=0, atol=1e-3)
    with torch.no_grad():
        assert float(one.step(batch).loss) == pytest.approx(0, abs=1e-6)


def test_a_case_is_restored_the_same_alone_and_among_others(task: Any) -> None:
    one = task().eval()
    for parameter in one.net.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    together = one.predict_step(collate(ITEMS), 0)
    torch.manual_seed(5)
    torch.testing.assert_close(one.predict_step(collate(ITEMS[2:3]), 0), together[2:3], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(together[0], together[1], atol=1e-2)


def test_several_samples_are_averaged(task: Any) -> None:
    nets = [task(samples=count).eval() for count in (1, 2, 3)]
    for one in nets:
        torch.manual_seed(0)
        for parameter in one.net.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
    first, two, three = (one.predict_step(collate(ITEMS), 0) for one in nets)
    assert not torch.allclose(first, two, atol=1e-3)
    assert (3 * three - 2 * two - first).abs().max() > 1e-3  # the third sample is another one again


def losses(task: DiffusionRestoration, fit: Fit, **options: Any) -> list[float]:
    seen: list[float] = []

    class Ears(pl.Callback):
        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, *_: Any) -> None:
            seen.append(float(outputs["loss"]))

    logged = fit(task, ITEMS, callbacks=[Ears()], **options).callback_metrics
    assert {"train/loss", "val/loss", "lr"} == logged.keys()
    return seen


def test_a_resumed_run_goes_on_as_the_unbroken_one(task: Any, fit: Fit, tmp_path: Path) -> None:
    unbroken = losses(task(), fit, epochs=2)
    fit(task(), ITEMS, epochs=1).save_checkpoint(tmp_path / "half.ckpt")
    torch.manual_seed(99)
    assert losses(task(), fit, epochs=2, resume=tmp_path / "half.ckpt") == unbroken[2:]
