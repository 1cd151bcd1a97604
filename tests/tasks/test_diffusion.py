"""Diffusion: what its network learns, and that a sample is a function of its seed and place alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from monai.networks.nets import DiffusionModelUNet
from torch import Tensor, nn

from medexp.data.cases import collate
from medexp.errors import UserError
from medexp.losses.distance import MeanSquaredError
from medexp.tasks.base import Batch
from medexp.tasks.diffusion import Diffusion

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers", "ignore:.*tensorboardX", "ignore:.*LeafSpec"
)
Fit = Callable[..., pl.Trainer]
SIZE = (8, 8)
ITEMS = [
    {"image": torch.randn(1, *SIZE, generator=torch.Generator().manual_seed(index)) + 3, "case_id": str(index),
     "target": torch.tensor([index % 2])} for index in range(4)
]  # fmt: skip


class Data:
    def __init__(self, items: list[dict[str, Any]] = ITEMS, patch_size: tuple[int, int] | None = None) -> None:
        self.items, self.patch_size = items, patch_size

    def training_cases(self) -> Iterator[Batch]:
        return (collate([item]) for item in self.items)


def unet(classes: int | None = None) -> nn.Module:
    options: dict[str, Any] = {"channels": (8, 8), "attention_levels": (False, True), "num_head_channels": 8}
    return DiffusionModelUNet(2, 1, 1, num_res_blocks=1, norm_num_groups=4, num_class_embeds=classes, **options)


@pytest.fixture
def task(make: Callable[..., Any]) -> Callable[..., Diffusion]:
    def built(net: nn.Module | None = None, classes: int | None = None, **options: Any) -> Diffusion:
        torch.manual_seed(0)
        own = {"loss": MeanSquaredError(), "out_channels": 1, "spatial_dims": 2, "timesteps": 100, "steps": 5}
        target = "generation" if classes is None else "generation_by_class"
        made: Diffusion = make(
            Diffusion, net=net or unet(classes), classes=classes, target=target, **{**own, **options}
        )
        made.learn(Data())
        return made

    return built


@pytest.fixture(params=["plain", "classes", "epsilon", "sample"])
def options(request: pytest.FixtureRequest) -> dict[str, Any]:
    kind: dict[str, dict[str, Any]] = {"plain": {}, "classes": {"classes": 3}}
    return kind.get(request.param) or ({"prediction": request.param} if request.param != "plain" else {})


def losses(task: Diffusion, fit: Fit, **options: Any) -> list[float]:
    seen: list[float] = []

    class Ears(pl.Callback):
        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, *_: Any) -> None:
            seen.append(float(outputs["loss"]))

    fit(task, ITEMS, callbacks=[Ears()], **options)
    return seen


def test_it_trains_and_logs(task: Any, fit: Fit, options: dict[str, Any]) -> None:
    one = task(**options)
    before = [parameter.detach().clone() for parameter in one.parameters()]
    logged = fit(one, ITEMS).callback_metrics
    assert {"train/loss", "val/loss", "lr"} == logged.keys()
    assert all(torch.isfinite(value) for value in logged.values())
    assert any(not torch.equal(old, new) for old, new in zip(before, one.parameters(), strict=True))


def test_a_resumed_run_goes_on_as_the_unbroken_one(
    task: Any, fit: Fit, options: dict[str, Any], tmp_path: Path
) -> None:
    unbroken = losses(task(**options), fit, epochs=2)
    fit(task(**options), ITEMS, epochs=1).save_checkpoint(tmp_path / "half.ckpt")
    torch.manual_seed(99)
    assert losses(task(**options), fit, epochs=2, resume=tmp_path / "half.ckpt") == unbroken[2:]


def test_a_checkpoint_holds_values_alone_and_generates_the_same(task: Any, fit: Fit, tmp_path: Path) -> None:
    one, other = task(classes=3), task(classes=3)
    fit(one, ITEMS).save_checkpoint(tmp_path / "a.ckpt")
    other.measured.moments.zero_()
    other.load_state_dict(torch.load(tmp_path / "a.ckpt", weights_only=True)["state_dict"])
    assert torch.equal(one.generate(3, 0), other.generate(3, 0))


def test_a_case_is_validated_with_noise_of_its_own(task: Any) -> None:
    one = task().eval()
    with torch.no_grad():
        alone = [one.step(collate([item])) for item in ITEMS]
        torch.manual_seed(5)
        together = one.step(collate(ITEMS[::-1]))
    torch.testing.assert_close(torch.cat([step.target for step in alone[::-1]]), together.target)
    assert not torch.equal(alone[0].target[0], alone[0].target[1])  # at several levels, with a noise each


@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
def test_a_sample_depends_on_its_seed_and_place_alone(task: Any, sampler: str) -> None:
    one = task(classes=3, sampler=sampler, timesteps=20)
    for parameter in one.net.parameters():  # many begin as zeros
        torch.nn.init.normal_(parameter, std=0.2)
    classes = torch.tensor([0, 1, 0, 1, 1])
    five = one.generate(5, 7, classes)
    torch.manual_seed(3)
    torch.testing.assert_close(one.generate(2, 7, classes[:2]), five[:2], rtol=1e-4, atol=1e-4)
    assert torch.equal(one.generate(5, 7, classes), five)
    assert five.shape == (5, 1, *SIZE)
    assert not torch.allclose(five[3], five[4])
    assert not torch.allclose(one.generate(2, 8, classes[:2]), five[:2], atol=1e-2)
    assert not torch.allclose(one.generate(2, 7, 1 - classes[:2]), five[:2], atol=1e-6)


class Knows(nn.Module):
    """Tells the noise of any image as one that knows what lies below would."""

    def __init__(self, image: Tensor, prediction: str) -> None:
        super().__init__()
        self.image, self.prediction, self.weight = image, prediction, nn.Parameter(torch.ones(()))
        self.task: list[Diffusion] = []

    def forward(self, x: Tensor, timesteps: Tensor) -> Tensor:
        kept = self.task[0].denoising.noising.alphas_cumprod[timesteps].reshape(-1, 1, 1, 1)
        noise = (x - kept.sqrt() * self.image) / (1 - kept).sqrt()
        velocity = kept.sqrt() * noise - (1 - kept).sqrt() * self.image
        return {"epsilon": noise, "sample": self.image.expand_as(x), "v_prediction": velocity}[self.prediction]


@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize(("sampler", "steps"), [("ddim", 4), ("ddim", 50), ("ddpm", 50)])
def test_whoever_knows_the_image_below_the_noise_samples_it(
    task: Any, prediction: str, sampler: str, steps: int
) -> None:
    wanted = torch.linspace(-1, 1, 64).reshape(1, 1, 8, 8)
    net = Knows(wanted, prediction)
    one = task(net=net, prediction=prediction, sampler=sampler, steps=steps)
    net.task.append(one)
    found = (one.generate(2, 0) - one.measured.moments[0]) / one.measured.moments[1]
    torch.testing.assert_close(found, wanted.expand(2, -1, -1, -1), rtol=0, atol=2e-3)


def test_guidance_goes_beyond_the_class_away_from_none(task: Any) -> None:
    seen: list[list[int]] = []

    class Labelled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(()))

        def forward(self, x: Tensor, timesteps: Tensor, class_labels: Tensor) -> Tensor:
            seen.append(class_labels.tolist())
            return torch.zeros_like(x) + 0.1 * (class_labels == 1).float().reshape(-1, 1, 1, 1)

    plain, guided = (task(net=Labelled(), classes=3, prediction="sample", guidance=g) for g in (1.0, 3.0))
    assert torch.allclose(
        (plain.generate(1, 0, torch.tensor([1])) - plain.measured.moments[0]) / plain.measured.moments[1],
        torch.tensor(0.1),
        atol=1e-4,
    )
    assert seen == [[1]] * 5
    seen.clear()
    assert torch.allclose(
        (guided.generate(1, 0, torch.tensor([1])) - guided.measured.moments[0]) / guided.measured.moments[1],
        torch.tensor(0.3),
        atol=1e-4,
    )
    assert seen == [[1], [2]] * 5


def test_samples_are_learnt_to_be_of_the_size_and_range_of_the_training_images(task: Any) -> None:
    one = task()
    voxels = torch.cat([item["image"] for item in ITEMS])  # type: ignore[arg-type]
    torch.testing.assert_close(one.measured.moments, torch.stack([voxels.mean(), voxels.std(correction=0)]))
    found = one.generate(4, 0)
    assert voxels.min() - 1e-4 <= found.min() <= found.max() <= voxels.max() + 1e-4
    one.learn(Data(patch_size=(4, 6)))
    assert one.generate(1, 0).shape == (1, 1, 4, 6)
    assert one.measured.cut(collate(ITEMS)["image"]).shape == (4, 1, 4, 6)


def test_training_images_of_several_sizes_are_refused(task: Any) -> None:
    items = [ITEMS[0], {**ITEMS[1], "image": torch.zeros(1, 8, 9)}]
    with pytest.raises(UserError, match=r"dataset\.patch_size: null, .*several sizes \(8 x 8, 8 x 9\)"):
        task().learn(Data(items))
