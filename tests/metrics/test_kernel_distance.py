"""The distance of made images from real ones that a GAN is watched by."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medexp.metrics.generative import kernel_distance
from medexp.metrics.kernel_distance import KernelDistance


def test_batches_count_as_one_set_of_images() -> None:
    torch.manual_seed(0)
    made, real = torch.randn(6, 1, 2, 2), torch.randn(6, 1, 2, 2) + 1
    metric = KernelDistance(nn.Flatten())
    for part in (slice(0, 2), slice(2, 6)):
        metric.update(made[part], real[part])
    assert float(metric.compute()) == pytest.approx(kernel_distance(made.flatten(1), real.flatten(1)), rel=1e-5)
    assert float(metric.compute()) > 0


def test_of_a_single_image_no_distance_is_known() -> None:
    metric = KernelDistance(nn.Flatten())
    metric.update(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2))
    assert metric.compute().isnan()
