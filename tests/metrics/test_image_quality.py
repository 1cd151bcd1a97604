"""PSNR and structural similarity of images, beside filters."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from monai.metrics import PSNRMetric, SSIMMetric
from torchmetrics.functional.image import structural_similarity_index_measure as ssim

from medexp.errors import UserError
from medexp.metrics.baselines import BASELINES, made
from medexp.metrics.image_quality import LOSSLESS, CasePSNR, ImageScores, psnr, scales, structure


def pair(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    reference = torch.rand(shape)
    return reference + 0.1 * torch.randn(shape), reference


def test_hand_value_of_psnr() -> None:
    reference = torch.tensor([[[0.0, 2.0], [1.0, 1.0]]])
    image = reference + torch.tensor([[[0.1, -0.1], [0.1, -0.1]]])
    assert psnr(image, reference) == pytest.approx(10 * math.log10(4 / 0.01), rel=1e-5)
    assert psnr(reference, reference) == LOSSLESS


@pytest.mark.parametrize("shape", [(1, 40, 36), (1, 24, 20, 16)])
def test_values_are_monais(shape: tuple[int, ...]) -> None:
    image, reference = pair(*shape)
    width = float(reference.max() - reference.min())
    wanted = PSNRMetric(max_val=width)(image[None], reference[None])
    assert psnr(image, reference) == pytest.approx(float(wanted), rel=1e-5)
    found = structure(image, reference)
    monai = SSIMMetric(spatial_dims=len(shape) - 1, data_range=width, kernel_type="uniform", win_size=11)
    assert found == pytest.approx(float(monai(image[None], reference[None])), abs=0.02)  # they treat edges otherwise


def test_an_image_equal_to_its_reference_is_perfect_and_noise_costs() -> None:
    image, reference = pair(1, 64, 64)
    assert structure(reference, reference) == pytest.approx(1)
    assert scales(reference, reference) == pytest.approx(1)
    assert 0 < (structure(image, reference) or 0) < 1
    assert (structure(image, reference) or 0) < (scales(image, reference) or 0) < 1


def test_images_too_small_for_a_window_have_no_value() -> None:
    image, reference = pair(1, 4, 64)
    assert structure(image, reference) is None
    assert scales(image, reference) is None


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("side", range(1, 41))
def test_an_image_of_any_size_is_measured_or_has_no_value(side: int, axes: int) -> None:
    for shape in ((side,) * axes, (side, *[40] * (axes - 1))):
        image, reference = pair(1, *shape)
        for value in (structure(image, reference), scales(image, reference)):
            assert value is None or -1 <= value <= 1
        if side > 7:
            assert scales(image, reference) is not None


def test_a_stack_of_few_slices_is_measured_slice_by_slice() -> None:
    image, reference = pair(1, 40, 48, 4)
    reference[..., 0] = reference[..., 0].clamp(-1, 1)  # the range is the volume's, not each slice's
    assert scales(image, reference) is not None
    kernel: Any = {"kernel_size": 11, "sigma": 1.5, "gaussian_kernel": False}
    width = float(reference.max() - reference.min())
    each = [ssim(image[None, ..., k], reference[None, ..., k], data_range=width, **kernel) for k in range(4)]
    assert structure(image, reference) == pytest.approx(float(torch.stack(each).mean()), rel=1e-5)


def test_a_baseline_of_other_channels_says_so() -> None:
    reference = np.random.default_rng(0).normal(size=(1, 16, 16)).astype(np.float32)
    scorer = ImageScores(["input"])
    summary = scorer.summarize([scorer.case(reference, reference, {})])
    assert summary["psnr"]["per_class"]["input"]["reason"] == "other channels than the reference"


def test_the_bound_of_a_small_image_is_no_lookup_of_its_voxels() -> None:
    rng = np.random.default_rng(0)
    image, noise = rng.normal(size=(2, 20, 40, 3)), rng.normal(size=(1, 20, 40, 3))
    found = made("intensity_map", image, noise)
    assert found is not None
    assert np.mean((found - noise) ** 2) > 0.85 * noise.var()  # nothing is to be known of noise


def test_the_mean_over_ranks_is_that_over_images() -> None:
    image, reference = pair(1, 16, 16)
    metric = CasePSNR()
    metric.update(image[None], reference[None])
    metric.update(reference[None], reference[None])
    assert float(metric.compute()) == pytest.approx((psnr(image, reference) + LOSSLESS) / 2, rel=1e-6)


def test_rows_and_summary_hold_the_network_beside_each_baseline() -> None:
    image, reference = (tensor.numpy() for tensor in pair(1, 32, 32))
    scorer = ImageScores(["input", "gaussian"])
    others = {name: BASELINES[name](image) for name in scorer.baselines}
    rows = [scorer.case(reference, reference, others), scorer.case(image, reference, others)]
    assert rows[1]["psnr"] == rows[1]["psnr_input"]
    summary = scorer.summarize(rows)
    assert summary["psnr"]["mean"] == summary["psnr"]["per_class"]["network"]["mean"]
    assert summary["psnr"]["per_class"]["input"]["mean"] == pytest.approx(rows[0]["psnr_input"])
    assert summary["better"]["per_class"]["input"]["mean"] == 0.5


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("shape", [(2, 24, 20), (1, 16, 14, 12)])
def test_a_baseline_gives_an_image_of_the_same_shape(name: str, shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    assert BASELINES[name](image).shape == shape


def test_the_best_function_of_a_voxel_is_a_bound_for_others_of_it_and_knows_no_neighbours() -> None:
    rng = np.random.default_rng(0)
    image = rng.normal(size=(1, 60, 60))
    reference = np.sin(3 * image) + 0.1 * rng.normal(size=image.shape)
    found = made("intensity_map", image, reference)
    assert found is not None
    assert float(np.mean((found - reference) ** 2)) < 1.1 * 0.01 < float(np.mean((image - reference) ** 2))
    assert made("intensity_map", np.concatenate([image, image]), reference).shape == reference.shape  # type: ignore[union-attr]
    assert made("input", np.concatenate([image, image]), reference) is None  # of other channels: no baseline


def test_means_of_squares_take_away_what_rician_noise_adds() -> None:
    rng = np.random.default_rng(0)
    clean = np.zeros((1, 48, 48), np.float32)
    clean[:, 12:36, 12:36] = 1.0
    noisy = np.hypot(clean + 0.1 * rng.normal(size=clean.shape), 0.1 * rng.normal(size=clean.shape)).astype(np.float32)
    errors = {name: np.abs(BASELINES[name](noisy) - clean)[:, :8].mean() for name in ("nonlocal_means", "rician_means")}
    assert errors["rician_means"] < 0.85 * errors["nonlocal_means"]  # where there is no signal


def test_an_edge_is_steeper_when_sharpened() -> None:
    edge = np.linspace(0, 1, 32)[None, None] * np.ones((1, 32, 1))
    ramp = np.clip(4 * edge - 1.5, 0, 1)
    assert np.abs(np.diff(BASELINES["sharpened"](ramp)[0, 16])).max() > np.abs(np.diff(ramp[0, 16])).max()


def test_an_unknown_baseline_is_named_before_any_case_is_scored() -> None:
    with pytest.raises(UserError, match=r"metrics\.test\.baselines: 'medain'; did you mean 'median'"):
        ImageScores(["medain"])


@pytest.mark.parametrize("name", ["gaussian", "nonlocal_means", "total_variation"])
def test_a_filter_takes_noise_from_a_flat_image(name: str) -> None:
    image = np.random.default_rng(0).normal(size=(1, 48, 48)).astype(np.float32)
    assert BASELINES[name](image).std() < 0.7 * image.std()
