"""`medexp bench step` beside nnU-Net: its own parts where they are installed, and how to install them where they are not."""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from medexp.run.bench import nnunet, step

UNET = '''
from torch import nn
class PlainConvUNet(nn.Module):
    """A convolution an output scale; the arguments by their names in the package."""
    def __init__(self, input_channels, n_stages, features_per_stage, conv_op, kernel_sizes, strides, n_conv_per_stage,
                 num_classes, n_conv_per_stage_decoder, conv_bias, norm_op, norm_op_kwargs, nonlin, nonlin_kwargs,
                 deep_supervision):
        super().__init__()
        assert n_stages == len(features_per_stage) == len(kernel_sizes) == len(strides)
        assert deep_supervision and n_conv_per_stage == n_conv_per_stage_decoder == 2
        self.features = features_per_stage
        self.heads = nn.ModuleList(conv_op(input_channels, num_classes, 1) for _ in strides[:-1])
    def forward(self, x):
        return [head(x[..., ::2**i, ::2**i, ::2**i]) for i, head in enumerate(self.heads)]
'''
COMPOUND = """
from torch import nn
class DC_and_CE_loss(nn.Module):
    def __init__(self, soft_dice_kwargs, ce_kwargs, weight_ce, weight_dice, dice_class):
        super().__init__()
        self.entropy = nn.CrossEntropyLoss(**ce_kwargs)
    def forward(self, scores, target):
        return self.entropy(scores, target[:, 0].long())
"""
WRAPPER = """
from torch import nn
class DeepSupervisionWrapper(nn.Module):
    def __init__(self, loss, weight_factors):
        super().__init__()
        assert abs(sum(weight_factors) - 1) < 1e-6 and weight_factors[-1] == 0
        self.loss, self.weights = loss, weight_factors
    def forward(self, scores, targets):
        return sum(w * self.loss(s, t) for w, s, t in zip(self.weights, scores, targets, strict=True))
"""
STAND_INS = {
    "dynamic_network_architectures/architectures/unet.py": UNET,
    "nnunetv2/training/loss/compound_losses.py": COMPOUND,
    "nnunetv2/training/loss/dice.py": "class MemoryEfficientSoftDiceLoss: ...\n",
    "nnunetv2/training/loss/deep_supervision.py": WRAPPER,
}
PACKAGES = ("nnunetv2", "dynamic_network_architectures")


def _loaded() -> dict[str, Any]:
    return {name: module for name, module in sys.modules.items() if name.split(".")[0] in PACKAGES}


@pytest.fixture
def stand_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Small packages of the same names and signatures, before any that are installed."""
    before = _loaded()
    for name in before:
        del sys.modules[name]
    for name, text in STAND_INS.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
        for folder in list((tmp_path / name).relative_to(tmp_path).parents)[:-1]:
            (tmp_path / folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in _loaded():
        del sys.modules[name]
    sys.modules.update(before)


@pytest.mark.usefixtures("stand_ins")
def test_ratios_are_of_medians_of_one_run(monkeypatch: pytest.MonkeyPatch) -> None:
    found = step.beside_nnunet(16, 2)
    seconds = {name: values["median_s"] for name, values in found["seconds"].items()}
    assert set(seconds) == {"nnU-Net", "fp32", "bf16"}
    assert found["ratios"] == {name: pytest.approx(seconds["nnU-Net"] / seconds[name]) for name in ("fp32", "bf16")}
    assert found["parameters"] == 3 * 2 * 3  # scales, and a weight and a bias for each of three classes
    lines = nnunet.rows(found)
    assert [line[1].split(" ", 2)[2] for line in lines] == ["(fp32)", "(bf16)"]
    assert all(line[2].endswith(f"(nnU-Net, {found['arithmetic']})") for line in lines)
    assert [line[3] for line in lines] == [f"{ratio:.1f}x" for ratio in found["ratios"].values()]


@pytest.mark.usefixtures("stand_ins")
def test_its_network_has_the_widths_of_the_leaf_and_learns() -> None:
    cfg, batch = step.config("dynunet", 16), step.made_up(16)
    parts = nnunet.installed()
    net = nnunet.network(parts, cfg["model"]).to(batch["image"].device)
    assert net.features == cfg["model"]["filters"]
    one = nnunet.stepper(parts, net, cfg["model"]["strides"], batch)
    losses = [one().item() for _ in range(6)]
    assert all(map(math.isfinite, losses))
    assert losses[-1] < losses[0]


def test_labels_of_coarser_scales_are_every_nth_voxel() -> None:
    label = torch.arange(4 * 4 * 4).reshape(1, 1, 4, 4, 4)
    fine, half, flat = nnunet._scales(label, [1, 2, [1, 2, 2]])
    assert torch.equal(fine, label.float())
    assert torch.equal(half, label[..., ::2, ::2, ::2].float())
    assert torch.equal(flat, label[..., ::2, ::4, ::4].float())


@pytest.mark.parametrize("absent", PACKAGES)
def test_where_it_is_not_installed_the_table_says_how(
    absent: str, stand_ins: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, absent, None)  # what makes an import fail
    found = step.beside_nnunet(16, 1)
    assert absent in found["missing"]
    (line,) = nnunet.rows(found)
    assert nnunet.INSTALL in line[2]
    assert "--no-deps" in line[2]


def test_it_stands_beside_dynunet_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(step, "beside_nnunet", lambda *given: asked.append(given) or {"missing": "it"})
    for name in ("overhead", "precision", "end_to_end"):
        monkeypatch.setattr(step, name, lambda *given: {})
    assert step.NNUNET not in step.run(2, "unet", 16)
    assert step.run(2, "unet,dynunet", 16)[step.NNUNET] == {"missing": "it"}
    assert asked == [(16, 2)]


@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in PACKAGES), reason=f"not installed: {nnunet.INSTALL}"
)
def test_the_real_one_is_as_large_as_the_leaf() -> None:
    found = step.beside_nnunet(16, 1)
    own = sum(p.numel() for p in step.build.task(step.config("dynunet", 16)).net.parameters())
    assert found["parameters"] == pytest.approx(own, rel=0.01)
