"""Networks for patches: strides, kernels, and an estimate of memory that was held against measurements."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from monai.networks.nets import DynUNet

from medexp.data.planning.topology import GIB, Topology, memory, parameters, topology

ONE_STEP = r"""
import json, re, sys, warnings
warnings.simplefilter("ignore")
import torch
from monai.losses import DeepSupervisionLoss, DiceCELoss
from monai.networks.nets import DynUNet
patch, strides, kernels, filters, batch = json.loads(sys.argv[1])
net = DynUNet(len(patch), 1, 3, kernels, strides, strides[1:], filters, deep_supervision=True, deep_supr_num=2)
optimizer = torch.optim.AdamW(net.parameters())
loss = DeepSupervisionLoss(DiceCELoss(softmax=True, to_onehot_y=True, include_background=False))
image, label = torch.randn(batch, 1, *patch), torch.randint(0, 3, (batch, 1, *patch), dtype=torch.uint8)
def peak():  # KiB; getrusage would count the parent's peak too
    return int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1])
before = peak()
for _ in range(2):
    optimizer.zero_grad()
    loss([head.float() for head in net(image).unbind(1)], label).backward()
    optimizer.step()
print(peak() - before)
"""
# glibc gives freed blocks back at once, so that the peak is of what was needed at one time
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0", "MALLOC_MMAP_MAX_": "1000000"}


@pytest.mark.parametrize(
    ("spacing", "size"),
    [
        ((1, 1, 1), (35, 51, 35)),
        ((0.8, 0.8, 5), (164, 166, 26)),
        ((1, 1), (64, 64)),
        ((1, 1), (12, 12)),
        ((1, 1, 1), (5, 6, 7)),
    ],
)
def test_weights_are_counted_to_the_last_one(spacing: tuple[float, ...], size: tuple[int, ...]) -> None:
    net = topology(spacing, size)
    built = DynUNet(
        *(len(size), 2, 3, net.kernel_size, net.strides, net.strides[1:], net.filters),
        deep_supervision=True,
        deep_supr_num=net.heads,
    )
    assert parameters(net, 2, 3) == sum(weight.numel() for weight in built.parameters())


def test_feature_maps_keep_four_voxels() -> None:
    net = topology((1, 1, 1), (128, 128, 32))
    assert net.divisor == (32, 32, 8)
    assert [size // by for size, by in zip(net.patch_size, net.divisor, strict=True)] == [4, 4, 4]
    lone = topology((1, 1, 1), (128, 96, 32))  # no stage for 8 -> 4 of one axis alone
    assert lone.divisor == (16, 16, 8)


def test_a_tiny_patch_still_has_three_stages() -> None:
    net = topology((1, 1, 1), (6, 6, 6))
    assert net.patch_size == (6, 6, 6)
    assert net.strides == ((1, 1, 1),) * 3
    assert net.heads == 1


def test_memory_grows_with_batch_classes_and_precision() -> None:
    net = topology((1, 1, 1), (64, 64, 64))
    one, two, four = (memory(net, 1, 3, count, mixed=True) for count in (1, 2, 4))
    assert four - two == pytest.approx(2 * (two - one))
    assert memory(net, 1, 60, 2, mixed=True) > two
    assert two < memory(net, 1, 3, 2, mixed=False) < 2 * two


def test_the_reference_of_nnunet_fills_its_eight_gigabytes() -> None:
    """128^3, two a batch, 16 bits: what is left of 8 GB is for the context and cuDNN."""
    assert memory(topology((1, 1, 1), (128, 128, 128)), 1, 3, 2, mixed=True) == pytest.approx(4.9, abs=0.1)


MEASURED = [  # patch, strides after the first, kernel of the first stage, batch, classes, channels, mixed, MiB
    ((40, 56, 40), [(2, 2, 2)] * 3, 3, 2, 3, 1, False, 451),
    ((64, 64, 64), [(2, 2, 2)] * 3, 3, 2, 3, 1, False, 1186),
    ((64, 64, 64), [(2, 2, 2)] * 3, 3, 2, 14, 1, False, 1314),
    ((64, 64, 64), [(2, 2, 2)] * 3, 3, 2, 30, 1, False, 1767),
    ((64, 64, 64), [(2, 2, 2)] * 3, 3, 4, 3, 1, False, 2301),
    ((64, 64, 64), [(2, 2, 2)] * 3, 3, 2, 2, 4, False, 1181),
    ((96, 96, 64), [(2, 2, 2)] * 4, 3, 2, 3, 1, False, 2680),
    ((24, 112, 112), [(1, 2, 2), *[(2, 2, 2)] * 3], 1, 2, 2, 1, False, 1681),
    ((256, 256), [(2, 2)] * 5, 3, 8, 3, 1, False, 1705),
    ((384, 384), [(2, 2)] * 5, 3, 4, 2, 3, False, 1887),
    ((64, 64, 64), [(2, 2, 2)] * 3, 3, 2, 3, 1, True, 645),
    ((64, 64, 64), [(2, 2, 2)] * 3, 3, 4, 3, 1, True, 1202),
]


@pytest.mark.parametrize(("patch", "strides", "first", "batch", "classes", "channels", "mixed", "measured"), MEASURED)
def test_the_estimate_is_within_four_percent_of_what_was_measured(
    patch: tuple[int, ...],
    strides: list[tuple[int, ...]],
    first: int,
    batch: int,
    classes: int,
    channels: int,
    mixed: bool,
    measured: int,
) -> None:
    """Peaks of training steps on a CPU, the growth over the process with its untrained network (torch 2.13)."""
    dims = len(patch)
    kernels = ((first, *(3,) * (dims - 1)), *((3,) * dims,) * len(strides))
    net = Topology(patch, ((1,) * dims, *strides), kernels)
    weights = parameters(net, channels, classes) * 4 / GIB  # they were there before
    assert (memory(net, channels, classes, batch, mixed) - weights) * 1024 == pytest.approx(measured, rel=0.04)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peak memory is read from /proc")
def test_the_estimate_holds_here_and_now() -> None:
    """One training step in a process of its own. The peak differs with torch's version and the CPU's kernels."""
    net = topology((1, 1, 1), (40, 56, 40))
    told = json.dumps([net.patch_size, net.strides, net.kernel_size, net.filters, 2])
    environment = {**os.environ, **MALLOC, "OMP_NUM_THREADS": "1"}
    outcome = subprocess.run(
        [sys.executable, "-c", ONE_STEP, told], capture_output=True, text=True, check=True, env=environment, timeout=120
    )
    weights = parameters(net, 1, 3) * 4 / GIB
    expected = memory(net, 1, 3, 2, mixed=False) - weights
    assert int(outcome.stdout) / 2**20 == pytest.approx(expected, rel=0.25)
