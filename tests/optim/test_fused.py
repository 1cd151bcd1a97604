"""`optimizer.fused=true`: one kernel for all parameters, the same steps to rounding."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from medexp.config import compose, paths
from medexp.optim.groups import parameter_groups

FUSED = [name for name, leaf in paths.options("optimizer").items() if "fused" in leaf.read_text(encoding="utf-8")]
DEVICES = ["cpu", "cuda"]


def stepped(kind: Any, device: str, **options: Any) -> list[torch.Tensor]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3)).to(device)
    optimizer = partial(kind, **options)(parameter_groups(net, weight_decay=0.1))
    for _ in range(3):
        optimizer.zero_grad()
        net(torch.ones(2, 5, device=device)).square().sum().backward()
        optimizer.step()
    return [parameter.detach().cpu() for parameter in net.parameters()]


def test_the_leaves_with_a_fused_form_are_known() -> None:
    assert sorted(FUSED) == ["adagrad", "adam", "adam_adversarial", "adamw", "momentum", "sgd"]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", FUSED)
def test_fused_steps_are_the_same_to_rounding(name: str, device: str) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA GPU here")
    if (name, device) == ("adagrad", "cuda"):
        pytest.skip("torch has no fused Adagrad for CUDA")
    cfg = compose.resolve(compose.compose([f"optimizer={name}", "optimizer.fused=true"]))["optimizer"]
    kind = getattr(torch.optim, cfg.pop("_target_").rsplit(".", 1)[1])
    options = {key: value for key, value in cfg.items() if not key.startswith("_")}
    assert options.pop("fused") is True
    one, other = (stepped(kind, device, fused=fused, **options) for fused in (None, True))
    for plain, fused in zip(one, other, strict=True):
        torch.testing.assert_close(fused, plain, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", FUSED)
def test_by_default_torch_chooses(name: str) -> None:
    assert compose.resolve(compose.compose([f"optimizer={name}"]))["optimizer"]["fused"] is None
