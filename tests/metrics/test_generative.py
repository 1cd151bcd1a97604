"""Distances between distributions of images, and copies of training images among samples."""

from __future__ import annotations

import warnings

import pytest
import torch
from monai.metrics.fid import get_fid_score
from torch import Tensor

from medexp.errors import UserError
from medexp.metrics.generative import GenerationScores, frechet_distance, kernel_distance, neighbours


def normal(count: int, seed: int, width: int = 6) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def exactly(mean: Tensor, deviation: Tensor, seed: int) -> Tensor:
    """400 features with just these means and, uncorrelated, these standard deviations."""
    values = normal(400, seed, len(mean))
    values -= values.mean(dim=0)
    whitened = values @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(values.T))).T
    return whitened * deviation + mean


def test_of_uncorrelated_gaussians_the_frechet_distance_is_that_of_means_and_deviations() -> None:
    means = torch.tensor([[0.0, 1.0, 2.0], [3.0, 1.0, -2.0]], dtype=torch.float64)
    deviations = torch.tensor([[1.0, 2.0, 0.5], [2.0, 2.0, 4.0]], dtype=torch.float64)
    wanted = ((means[0] - means[1]) ** 2).sum() + ((deviations[0] - deviations[1]) ** 2).sum()
    found = frechet_distance(exactly(means[0], deviations[0], 0), exactly(means[1], deviations[1], 1))
    assert found == pytest.approx(float(wanted), rel=1e-9)


def test_of_correlated_features_it_is_monais() -> None:
    mixing = normal(6, 5)
    one, other = normal(60, 1) @ mixing, normal(50, 2) + 0.3
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of SciPy, at MONAI's call
        wanted = float(get_fid_score(one, other))
    assert frechet_distance(one, other) == pytest.approx(wanted, rel=1e-6)


def test_fewer_images_than_features_still_have_a_distance() -> None:
    few = normal(3, 0)
    assert frechet_distance(few, few) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(few, few + 1) == pytest.approx(6, rel=1e-6)


def test_the_kernel_distance_sees_more_than_means() -> None:
    narrow, alike, wide = normal(300, 0), normal(300, 1), 2 * normal(300, 2)
    assert abs(kernel_distance(narrow, alike)) < 0.05
    assert kernel_distance(narrow, wide) > 0.5


def images(count: int, seed: int) -> Tensor:
    return torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


def test_noisy_copies_of_training_images_are_flagged_and_new_images_are_not() -> None:
    training = images(30, 0)
    copies = training[[4, 7, 11]] + 0.1 * images(3, 1)
    found = neighbours(torch.cat([copies, images(5, 2)]), training)
    assert found.nearest[:3].tolist() == [4, 7, 11]
    assert found.copy.tolist() == [True] * 3 + [False] * 5
    assert found.distance[0] == pytest.approx(0.1, abs=0.03)


def test_distances_are_those_of_all_training_images_however_many() -> None:
    training = torch.cat([images(300, 0) + 9, images(1, 3)])
    assert neighbours(images(1, 3), training).nearest.tolist() == [300]


def test_the_summary_puts_samples_beside_held_out_images() -> None:
    training = images(40, 0)
    parts = {"samples": training[:8] + 0.01, "held_out": images(6, 5), "training": training}
    found = {name: neighbours(parts[name], training) for name in ("samples", "held_out")}
    summary = GenerationScores(count=8).summarize(found, {name: part.flatten(1) for name, part in parts.items()})
    assert summary["copy"]["mean"] == 1
    assert summary["copy"]["per_class"]["held_out"]["mean"] == 0
    assert summary["distance"]["per_class"]["samples"]["n"] == 8
    assert summary["fid"]["per_class"]["held_out"]["n"] == summary["fid"]["n"] == 6  # as many on every side
    assert summary["fid"]["mean"] < summary["fid"]["per_class"]["held_out"]["mean"]


def test_what_needs_two_training_images_is_absent_with_the_reason_where_there_is_one() -> None:
    training = images(1, 0)
    parts = {"samples": images(3, 1), "held_out": images(2, 2), "training": training}
    found = {name: neighbours(parts[name], training) for name in ("samples", "held_out")}
    summary = GenerationScores(count=3).summarize(found, {name: part.flatten(1) for name, part in parts.items()})
    for name in ("fid", "mmd", "ratio", "copy"):
        for entry in (summary[name], *summary[name]["per_class"].values()):
            assert entry["mean"] is None
            assert entry["reason"] == "a single training image"
    assert summary["distance"]["mean"] > 0


@pytest.mark.parametrize(("count", "said"), [(1, "2 samples or more"), (10**9, "more than 1000000 samples")])
def test_a_number_of_samples_that_means_nothing_is_refused(count: int, said: str) -> None:
    with pytest.raises(UserError, match=rf"metrics\.test\.count: {count}: {said}"):
        GenerationScores(count=count)
