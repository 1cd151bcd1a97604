"""`medexp bench step`: arithmetic counted by hand, rates that follow from it, and contestants that train."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from medexp.errors import UserError
from medexp.run.bench import calm, endtoend, flops, step

CPU = torch.device("cpu")


def test_flops_of_a_convolution_are_those_of_its_forward_and_both_gradients() -> None:
    net = nn.Sequential(nn.Conv3d(2, 4, 3, padding=1), nn.Conv3d(4, 8, 1)).to("meta")
    voxels = 3 * 5**3
    first, second = 2 * voxels * 2 * 4 * 27, 2 * voxels * 4 * 8
    # The first layer has no gradient of its input to compute.
    assert flops.of_step(net, torch.Size((3, 2, 5, 5, 5))) == 2 * first + 3 * second


def test_heads_of_a_network_count_alike_stacked_or_in_a_list() -> None:
    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(4, 2), nn.Linear(4, 2)

        def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
            return [self.one(image), self.two(image)]

    assert flops.of_step(Heads().to("meta"), torch.Size((3, 4))) == 2 * 2 * (2 * 3 * 4 * 2)


def test_the_peak_is_a_rate_of_products(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(100))
    monkeypatch.setattr(flops.time, "perf_counter", lambda: float(next(ticks)))
    assert flops.matmul_peak(torch.float32, CPU, size=8) == 2 * 8**3  # a second each


def test_peak_memory_forgets_what_was_before() -> None:
    flops.restart_peak(CPU)
    before = flops.peak_memory(CPU)
    if before is None:
        pytest.skip("this system does not tell the peak memory of a process anew")
    block = torch.ones(40_000_000)  # 160 MB
    with_block = flops.peak_memory(CPU)
    del block
    flops.restart_peak(CPU)
    after = flops.peak_memory(CPU)
    assert with_block is not None
    assert after is not None
    assert with_block - before == pytest.approx(160e6, rel=0.1)
    assert after < before + 80e6


def test_rates_follow_from_times_and_arithmetic() -> None:
    found = step.precision("unet", 16, 1)
    assert list(found["variants"]) == list(found["ratios"]) == ["fp32", "bf16", "bf16, channels last"]
    assert found["flops"] > 0
    for name, values in found["variants"].items():
        assert values["samples_a_second"] == pytest.approx(step.BATCH / values["median_s"])
        assert values["flops_a_second"] == pytest.approx(found["flops"] / values["median_s"])
        assert 0 < values["share_of_peak"] < 1
        assert found["ratios"][name] == pytest.approx(found["variants"]["fp32"]["median_s"] / values["median_s"])


@pytest.mark.parametrize("variant", step.VARIANTS.values(), ids=step.VARIANTS)
def test_each_contestant_learns_its_batch_by_heart(variant: tuple[str, bool]) -> None:
    torch.manual_seed(0)
    batch = {"image": torch.randn(2, 1, 32, 32, 32), "label": torch.randint(0, 3, (2, 1, 32, 32, 32))}
    one = step.stepper(step.config("unet", 32), batch, *variant)
    losses = [one().item() for _ in range(12)]
    assert losses[-1] < losses[0] - 0.05
    assert all(map(math.isfinite, losses))


def test_the_network_has_to_fit_before_anything_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "overhead", lambda rounds: pytest.fail("measured before it was checked"))
    with pytest.raises(UserError, match="model=nonesuch"):
        step.run(1, "unet,nonesuch")
    with pytest.raises(UserError, match="choose another model"):
        step.run(1, "unet,resnet18")


def test_tf32_is_allowed_within_only() -> None:
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    with step.tf32(not before[0]):
        assert torch.backends.cudnn.allow_tf32 is torch.backends.cuda.matmul.allow_tf32 is not before[0]
    assert (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32) == before


@pytest.mark.slow
def test_all_ways_of_training_from_files_are_timed_for_the_same_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endtoend, "SIZE", (88, 80, 80))
    monkeypatch.setattr(endtoend.pipelines, "PATCH", (16, 16, 16))
    with calm():
        found = endtoend.end_to_end(tmp_path, "unet", rounds=1, cases=2, workers=0, steps=1)
    ways = ["medexp", "Lightning, MONAI, no cache", "Lightning, CacheDataset", "Lightning, CacheDataset, tuned"]
    assert list(found["samples_a_second"]) == ways
    assert list(found["ratios"]) == ways[1:]
    for name, rate in found["samples_a_second"].items():
        assert rate == pytest.approx(endtoend.BATCH * found["steps"][name] / found["rounds"][name]["median_s"])
