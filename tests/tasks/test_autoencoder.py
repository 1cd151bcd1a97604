"""Autoencoders: the loss of the latent, and reconstructions without chance."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from monai.networks.nets import AutoEncoder, AutoencoderKL, VarAutoEncoder
from torch import nn

from medexp.data.cases import collate
from medexp.losses.distance import MeanSquaredError
from medexp.metrics.image_quality import CasePSNR
from medexp.tasks.autoencoder import Autoencoder, outputs

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers", "ignore:.*tensorboardX", "ignore:.*LeafSpec"
)
Fit = Callable[..., pl.Trainer]
ITEMS = [
    {"image": torch.randn(1, 8, 8, generator=torch.Generator().manual_seed(index)), "case_id": str(index)}
    for index in range(4)
]


def kl() -> nn.Module:
    rest: dict[str, Any] = {"with_encoder_nonlocal_attn": False, "with_decoder_nonlocal_attn": False}
    return AutoencoderKL(
        2, channels=(4, 4), attention_levels=(False, False), num_res_blocks=1, norm_num_groups=2, **rest
    )


NETS: dict[str, Callable[[], nn.Module]] = {
    "kl": kl,
    "vae": lambda: VarAutoEncoder(2, (1, 8, 8), 1, 4, (4, 8), (2, 2), use_sigmoid=False, use_mean_at_inference=True),
    "plain": lambda: AutoEncoder(2, 1, 1, (4, 8), (2, 2)),
}


@pytest.fixture(params=NETS)
def task(request: pytest.FixtureRequest, make: Callable[..., Any]) -> Callable[..., Autoencoder]:
    def built(**options: Any) -> Autoencoder:
        torch.manual_seed(0)
        own = {"loss": MeanSquaredError(), "metrics": {"psnr": CasePSNR()}, "out_channels": 1}
        made: Autoencoder = make(Autoencoder, net=NETS[request.param](), **{**own, **options})
        return made

    return built


def losses(task: Autoencoder, fit: Fit, **options: Any) -> list[float]:
    seen: list[float] = []

    class Ears(pl.Callback):
        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, *_: Any) -> None:
            seen.append(float(outputs["loss"]))

    logged = fit(task, ITEMS, callbacks=[Ears()], **options).callback_metrics
    assert {"train/loss", "val/loss", "val/psnr", "lr"} == logged.keys()
    return seen


def test_it_learns_and_a_resumed_run_goes_on_as_the_unbroken_one(task: Any, fit: Fit, tmp_path: Path) -> None:
    unbroken = losses(task(), fit, epochs=4)
    assert unbroken[-1] < unbroken[0]
    fit(task(), ITEMS, epochs=1).save_checkpoint(tmp_path / "half.ckpt")
    torch.manual_seed(99)
    assert losses(task(), fit, epochs=4, resume=tmp_path / "half.ckpt") == unbroken[2:]


def test_a_reconstruction_is_the_same_whenever_it_is_asked(task: Any) -> None:
    one = task().eval()
    with torch.no_grad():
        first, again = (one.predict_step(collate(ITEMS), 0) for _ in range(2))
    assert torch.equal(first, again)
    assert first.shape == (4, 1, 8, 8)


def test_the_latent_weighs_on_the_training_loss_alone(make: Any) -> None:
    losses = {}
    for weight in (0.0, 1.0):
        torch.manual_seed(0)
        one = make(Autoencoder, net=NETS["vae"](), loss=MeanSquaredError(), out_channels=1, kl=weight)
        torch.manual_seed(1)
        training = one.step(collate(ITEMS)).loss
        losses[weight] = (float(training.detach()), float(one.eval().step(collate(ITEMS)).loss.detach()))
    assert losses[1.0][0] > losses[0.0][0]
    assert losses[1.0][1] == losses[0.0][1]


def test_the_divergence_is_that_of_normal_distributions() -> None:
    mean, deviation = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 2.0]])
    wanted = float(torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, deviation), torch.distributions.Normal(0.0, 1.0)
    ).sum())  # fmt: skip
    image = torch.zeros(1, 1, 2, 2)
    assert float(outputs((image, mean, deviation))[1]) == pytest.approx(wanted)
    assert float(outputs((image, mean, 2 * deviation.log(), mean))[1]) == pytest.approx(wanted)
    assert float(outputs(image)[1]) == 0
