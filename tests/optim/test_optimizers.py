"""What every shipped optimizer keeps: it learns, and a resumed run is the unbroken one; found by glob."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor, nn

from medexp.optim.groups import parameter_groups

LEAVES = {path.stem: path for path in sorted(Path(__file__).parents[2].joinpath("conf/optimizer").glob("*.yaml"))}


def start(name: str) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 16, 1))
    make = instantiate(OmegaConf.load(LEAVES[name]), _convert_="all")
    return net, make(parameter_groups(net, weight_decay=make.keywords["weight_decay"]))


def train(net: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> list[float]:
    image = torch.randn(8, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    target = image.mean(dim=(1, 2, 3), keepdim=False).unsqueeze(1) * 3
    losses = []
    for _ in range(steps):
        loss: Tensor = nn.functional.mse_loss(net(image), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_there_are_optimizers() -> None:
    assert set(LEAVES) >= {"sgd", "momentum", "adagrad", "rmsprop", "adam", "adamw", "muon"}
    assert all(path.read_text().startswith("# ") for path in LEAVES.values())


@pytest.mark.parametrize("name", LEAVES)
def test_loss_falls_by_half(name: str) -> None:
    losses = train(*start(name), steps=150)
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("name", LEAVES)
def test_groups_keep_their_own_weight_decay(name: str) -> None:
    _, optimizer = start(name)
    stated = OmegaConf.load(LEAVES[name]).weight_decay
    assert [group["weight_decay"] for group in optimizer.param_groups] == [stated, 0.0]


@pytest.mark.parametrize("name", LEAVES)
def test_resumed_run_continues_as_the_unbroken_one(name: str) -> None:
    net, optimizer = start(name)
    train(net, optimizer, 5)
    file = io.BytesIO()
    torch.save({"net": net.state_dict(), "optimizer": optimizer.state_dict()}, file)
    unbroken = train(net, optimizer, 5)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    again, resumed = start(name)
    again.load_state_dict(state["net"])
    resumed.load_state_dict(state["optimizer"])
    assert train(again, resumed, 5) == unbroken
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), again.parameters(), strict=True))
