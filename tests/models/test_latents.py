"""A trained autoencoder that learns no more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from monai.networks.nets import AutoencoderKL

from medexp.errors import UserError
from medexp.models.latents import Latents


def net(channels: tuple[int, ...] = (4, 4)) -> AutoencoderKL:
    flat: dict[str, Any] = {"with_encoder_nonlocal_attn": False, "with_decoder_nonlocal_attn": False}
    levels = {"attention_levels": [False] * len(channels), "num_res_blocks": 1, "norm_num_groups": 2}
    return AutoencoderKL(2, channels=channels, latent_channels=3, **levels, **flat)  # type: ignore[arg-type]


def saved(path: Path) -> AutoencoderKL:
    one = net()
    torch.save({"state_dict": {f"net.{key}": value for key, value in one.state_dict().items()}}, path)
    return one.eval()


def test_it_is_the_network_of_the_checkpoint_and_stays_it(tmp_path: Path) -> None:
    one, image = saved(tmp_path / "a.ckpt"), torch.randn(2, 1, 8, 8)
    latents = Latents(net(), str(tmp_path / "a.ckpt")).train()
    assert not any(parameter.requires_grad for parameter in latents.parameters())
    latent = latents.encode(image)
    assert latent.shape == (2, 3, 4, 4)
    with torch.no_grad():
        torch.testing.assert_close(latents.decode(latent), one.reconstruct(image))


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    saved(tmp_path / "a.ckpt")
    with pytest.raises(UserError, match=r"task\.autoencoder: .*a\.ckpt holds another network"):
        Latents(net((4, 4, 4)), str(tmp_path / "a.ckpt"))


@pytest.mark.parametrize("left", [0, 1000])
def test_a_damaged_checkpoint_is_named(left: int, tmp_path: Path) -> None:
    saved(tmp_path / "a.ckpt")
    (tmp_path / "a.ckpt").write_bytes((tmp_path / "a.ckpt").read_bytes()[:left])
    with pytest.raises(UserError, match=r"task\.autoencoder: .*a\.ckpt holds no weights that can be read safely: "):
        Latents(net(), str(tmp_path / "a.ckpt"))


def test_a_checkpoint_of_something_else_is_named(tmp_path: Path) -> None:
    torch.save([1], tmp_path / "a.ckpt")
    with pytest.raises(UserError, match=r"task\.autoencoder: .*a\.ckpt holds no weights"):
        Latents(net(), str(tmp_path / "a.ckpt"))


def test_weights_that_are_gone_come_from_elsewhere(tmp_path: Path) -> None:
    one, other = (Latents(net(), str(tmp_path / "gone.ckpt")) for _ in range(2))
    other.load_state_dict(one.state_dict())
    assert torch.equal(one.encode(torch.ones(1, 1, 8, 8)), other.encode(torch.ones(1, 1, 8, 8)))
