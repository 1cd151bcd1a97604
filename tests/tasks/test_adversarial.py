"""A step of two networks against each other: whom it moves, by how much, and in which precision."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from monai.losses import PatchAdversarialLoss
from monai.networks.nets import MultiScalePatchDiscriminator, PatchDiscriminator
from pytorch_lightning.plugins.precision import MixedPrecision
from torch import Tensor, nn

from medexp.losses.distance import MeanAbsoluteError
from medexp.tasks.base import Task
from medexp.tasks.pix2pix import Pix2Pix
from medexp.trainer import Trainer

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers", "ignore:.*tensorboardX", "ignore:.*LeafSpec"
)
Make, Fit = Callable[..., Task], Callable[..., pl.Trainer]
SIZE = (16, 16)


def pix2pix(make: Make, **options: Any) -> Any:
    torch.manual_seed(0)
    judge: Any = PatchDiscriminator(2, 4, 2, num_layers_d=2, norm="INSTANCE")
    given: dict[str, Any] = {"net": nn.Conv2d(1, 1, 3, padding=1), "loss": MeanAbsoluteError(), "out_channels": 1}
    given |= {"discriminator": judge, "criterion": PatchAdversarialLoss(criterion="least_squares"), "weight": 1.0}
    return make(Pix2Pix, **{**given, **options})


@pytest.fixture
def items() -> list[dict[str, Any]]:
    torch.manual_seed(1)
    return [{"image": torch.randn(1, *SIZE), "reference": torch.randn(1, *SIZE), "case_id": str(i)} for i in range(2)]


def moved(task: Any, before: dict[str, Tensor], part: str) -> bool:
    return any(
        not torch.equal(value, before[name]) for name, value in task.state_dict().items() if name.startswith(part)
    )


@pytest.mark.parametrize(("rates", "stands"), [((0.0, 0.1), "net."), ((0.1, 0.0), "discriminator.")])
def test_each_optimizer_moves_its_own_network_alone(
    rates: tuple[float, float], stands: str, make: Make, fit: Fit, items: Any
) -> None:
    given = {"optimizer": partial(torch.optim.SGD, lr=rates[0]), "discriminator_optimizer": {"lr": rates[1]}}
    task = pix2pix(make, **given)
    before = {name: value.clone() for name, value in task.state_dict().items()}
    fit(task, items)
    assert not moved(task, before, stands)
    assert moved(task, before, ({"net.", "discriminator."} - {stands}).pop())


def test_a_step_is_what_two_plain_steps_of_gradient_descent_are(make: Make, fit: Fit, items: Any) -> None:
    """The discriminator first, on images of the network as it is; then the network, by the discriminator as it has become."""
    task, plain = (pix2pix(make, optimizer=partial(torch.optim.SGD, lr=0.1)) for _ in range(2))
    fit(task, items)
    image, reference = (torch.stack([item[key] for item in items]) for key in ("image", "reference"))
    made = image + plain.net(image)

    def judged(images: Tensor) -> Tensor:
        found: Tensor = plain.discriminator(torch.cat([image, images], dim=1))[-1]
        return torch.nn.functional.leaky_relu(found, 0.05)

    told = ((judged(reference) - 1).square().mean() + judged(made.detach()).square().mean()) / 2
    descend(plain.discriminator, told)
    descend(plain.net, (made - reference).abs().mean() + (judged(made) - 1).square().mean())
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(task.state_dict()[name], value, msg=name)


def descend(net: nn.Module, loss: Tensor) -> None:
    gradients = torch.autograd.grad(loss, list(net.parameters()))
    with torch.no_grad():
        for parameter, gradient in zip(net.parameters(), gradients, strict=True):
            parameter -= 0.1 * gradient


def fitted(task: Any, items: Any, **options: Any) -> pl.Trainer:
    quiet: dict[str, Any] = {"enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(accelerator="cpu", max_epochs=1, logger=False, num_sanity_val_steps=0, **quiet, **options)
    from medexp.data.cases import collate

    loader: Any = torch.utils.data.DataLoader(items, batch_size=2, collate_fn=collate)
    trainer.fit(task, loader, loader)
    return trainer


def test_the_trainers_clipping_holds_for_both_networks(make: Make, items: Any) -> None:
    task = pix2pix(make, optimizer=partial(torch.optim.SGD, lr=1.0))
    before = {name: value.detach().clone() for name, value in task.named_parameters()}
    fitted(task, items, gradient_clip_val=0.01)
    for part in ("net.", "discriminator."):
        steps = [
            (value.detach() - before[name]).norm() for name, value in task.named_parameters() if name.startswith(part)
        ]
        assert float(torch.stack(steps).norm()) == pytest.approx(0.01, rel=1e-3)
    assert task.gradient_norm > 0.01  # as it was before


def test_float16_scales_and_unscales_the_gradients_of_both(make: Make, items: Any) -> None:
    """A scale too large for float16 is lowered, by either network's gradients, and training goes on."""
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
    task = pix2pix(make)
    before = {name: value.clone() for name, value in task.state_dict().items()}
    trainer = fitted(task, items * 40, plugins=[MixedPrecision("16-mixed", "cpu", scaler)])
    assert trainer.global_step == 40
    assert scaler.get_scale() < 2.0**40
    assert moved(task, before, "net.")
    assert moved(task, before, "discriminator.")
    assert all(value.isfinite().all() for value in task.state_dict().values())


def test_several_scales_judge_together(make: Make, fit: Fit, items: Any) -> None:
    judge = MultiScalePatchDiscriminator(2, 1, 2, 4, 2, norm="INSTANCE", minimum_size_im=16)
    logged = fit(pix2pix(make, discriminator=judge), items).callback_metrics
    assert {"train/loss", "train/adversarial", "train/discriminator", "val/loss", "lr"} == logged.keys()
    assert all(torch.isfinite(value) for value in logged.values())
    assert logged["train/discriminator"] > 0


def test_weight_decay_of_the_discriminator_spares_norms_and_biases(make: Make) -> None:
    task = pix2pix(make, discriminator_optimizer={"weight_decay": 0.5})
    (first, second), _ = task.configure_optimizers()
    groups = {id(p): group["weight_decay"] for group in second.param_groups for p in group["params"]}
    assert groups.keys() == {id(p) for p in task.discriminator.parameters()}
    assert all(groups[id(p)] == (0.5 if p.ndim > 1 else 0.0) for p in task.discriminator.parameters())
    assert {id(p) for group in first.param_groups for p in group["params"]} == {id(p) for p in task.net.parameters()}
