"""Pairs of a clean image and what became of it."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from medexp.errors import UserError
from medexp.transforms.degradation import Degradation, coarse


def item(*shape: int) -> dict[str, Any]:
    return {"image": torch.from_numpy(np.random.default_rng(0).normal(2, 1, shape).astype(np.float32)), "case_id": "a"}


def smooth(*shape: int) -> Tensor:
    axes = torch.meshgrid(*(torch.linspace(0, 3, size) for size in shape), indexing="ij")
    return torch.stack(axes).sum(dim=0).sin()


ALL = {"blur": [1.0, 2.0], "factor": 2, "noise": "rician", "noise_std": [0.05, 0.2]}


@given(seed=st.integers(0, 2**32), other=st.integers(0, 2**32))
@settings(max_examples=10, deadline=None)
def test_a_pair_is_a_function_of_image_and_seed(seed: int, other: int) -> None:
    degrade, case = Degradation(**ALL), item(2, 12, 10)
    kept = case["image"].clone()
    one, two = degrade(case, seed), degrade(case, seed)
    assert torch.equal(one["image"], two["image"])
    assert torch.equal(one["reference"], kept)
    assert torch.equal(case["image"], kept)
    assert one["case_id"] == "a"
    if seed != other:
        assert not torch.equal(one["image"], degrade(case, other)["image"])


@pytest.mark.parametrize("shape", [(9, 12), (8, 10, 7)])
@pytest.mark.parametrize("factor", [2, 3])
def test_fewer_voxels_come_back_on_the_same_grid(shape: tuple[int, ...], factor: int) -> None:
    assert coarse(torch.rand(shape), (factor,) * len(shape)).shape == shape


def test_a_constant_stays_what_it_is_and_a_smooth_image_nearly_so() -> None:
    flat = torch.full((8, 9), 3.0)
    torch.testing.assert_close(coarse(flat, (2, 2)), flat)
    image = smooth(32, 32)
    assert (coarse(image, (2, 2)) - image).abs()[4:-4, 4:-4].max() < 0.012  # cubic splines end freely at the edge


def test_the_end_of_an_axis_that_the_factor_does_not_divide_is_restored_like_the_rest() -> None:
    image = smooth(33, 34)
    error = (coarse(image, (4, 4)) - image).abs()
    assert error[-1].mean() < 1.5 * error[0].mean()
    assert error[:, -2:].mean() < 1.5 * error[:, :2].mean()
    assert coarse(torch.rand(1, 3), (4, 2)).shape == (1, 3)


def test_thick_slices_keep_what_lies_within_a_slice() -> None:
    image = torch.zeros(6, 6, 8)
    image[2, 3] = 1.0  # the same in every slice
    torch.testing.assert_close(coarse(image, (1, 1, 4)), image, atol=1e-5, rtol=0)


def test_noise_has_the_standard_deviation_asked_for() -> None:
    image = torch.linspace(0, 4, 40_000).view(1, 200, 200)
    noise = Degradation(noise="gaussian", noise_std=[0.1, 0.1])({"image": image}, 3)["image"] - image
    assert float(noise.std()) == pytest.approx(0.4, rel=0.02)
    assert abs(float(noise.mean())) < 0.01


def test_rician_noise_lifts_the_background_and_is_gaussian_in_bright_signal() -> None:
    image = torch.zeros(1, 200, 200)
    image[:, 100:] = 1.0
    noisy = Degradation(noise="rician", noise_std=[0.1, 0.1])({"image": image}, 1)["image"]
    dark, bright = noisy[:, :100], noisy[:, 100:]
    assert float(dark.mean()) == pytest.approx(0.1 * np.sqrt(np.pi / 2), rel=0.03)  # Rayleigh
    assert float(bright.std()) == pytest.approx(0.1, rel=0.03)
    assert float(dark.min()) >= 0


def test_noise_of_counts_grows_with_the_root_of_the_signal() -> None:
    image = torch.ones(1, 200, 200)
    image[:, :100] = 0.25
    image[0, 0, 0] = 0.0
    noisy = Degradation(noise="poisson", noise_std=[0.1, 0.1])({"image": image}, 1)["image"]
    assert float(noisy[:, 100:].std()) == pytest.approx(0.1, rel=0.03)
    assert float(noisy[:, 1:100].std()) == pytest.approx(0.05, rel=0.03)


@pytest.mark.parametrize("shape", [(1, 64, 64), (1, 64, 60, 8)])
def test_noise_of_a_low_dose_has_its_standard_deviation_and_no_coarse_parts(shape: tuple[int, ...]) -> None:
    image = torch.zeros(shape)
    image[0, 0] = 1.0
    noise = (Degradation(noise="low_dose", noise_std=[0.1, 0.1])({"image": image}, 1)["image"] - image)[0].numpy()
    assert float(noise.std()) == pytest.approx(0.1, rel=0.05)
    power = np.abs(np.fft.fft2(noise, axes=(0, 1))) ** 2
    frequency = np.hypot(np.fft.fftfreq(noise.shape[0])[:, None], np.fft.fftfreq(noise.shape[1])[None])
    coarse, middle, fine = (
        power[(frequency >= low) & (frequency < high)].mean() for low, high in ((0, 0.03), (0.12, 0.2), (0.4, 0.5))
    )
    assert middle > 3 * coarse
    assert middle > 10 * fine
    if len(shape) == 4:  # slices are of measurements of their own
        assert abs(np.corrcoef(noise[..., 0].ravel(), noise[..., 1].ravel())[0, 1]) < 0.1


def test_channels_of_two_modalities_make_a_pair() -> None:
    case = item(2, 5, 5)
    pair = Degradation(inputs=[0], outputs=[1])(case, 0)
    assert torch.equal(pair["image"], case["image"][:1])
    assert torch.equal(pair["reference"], case["image"][1:])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"noise": "gausian"}, "degradation.noise: 'gausian'; did you mean 'gaussian'"),
        ({"noise_std": [0.2, 0.1]}, "degradation.noise_std"),
        ({"blur": [-1.0, 1.0]}, "degradation.blur"),
        ({"factor": []}, "degradation.factor: [] names no axis"),
        ({"factor": [2, 0]}, "degradation.factor: [2, 0] is below 1"),
        ({"factor": 0}, "degradation.factor: 0 is below 1"),
        ({"inputs": []}, "degradation.inputs"),
    ],
)
def test_a_bad_value_is_named_with_its_key(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        Degradation(**options)


def test_what_is_restored_as_it_is_has_the_channels_that_the_network_sees() -> None:
    case = item(3, 5, 5)
    assert torch.equal(Degradation(inputs=[2, 0], outputs=[1]).given(case)["image"], case["image"][[2, 0]])
    assert torch.equal(Degradation(**ALL).given(case)["image"], case["image"])


@pytest.mark.parametrize(("factor", "axis"), [(1000, 0), ([1, 1, 13], 2), ([1, 21, 1], 1)])
def test_a_factor_above_an_axis_is_said_before_it_takes_memory(factor: Any, axis: int) -> None:
    shape = (24, 20, 12)
    seen = f"above the {shape[axis]} voxels of axis {axis}; give at most {shape[axis]}"
    with pytest.raises(UserError, match=rf"degradation\.factor: \d+ is {seen}"):
        Degradation(factor=factor)(item(1, *shape), 0)


@pytest.mark.parametrize("slices", [1, 3, 5, 6])
def test_slices_are_made_thick_of_however_few(slices: int) -> None:
    assert Degradation(factor=[1, 1, 4])(item(1, 16, 16, slices), 0)["image"].shape == (1, 16, 16, slices)


def test_a_factor_or_channel_that_does_not_suit_the_image_is_said() -> None:
    with pytest.raises(UserError, match=r"degradation.factor: \[1, 1, 4\] for images of 2 axes"):
        Degradation(factor=[1, 1, 4])(item(1, 8, 8), 0)
    with pytest.raises(UserError, match=r"degradation.outputs: \[1\], but the image has 1 channels"):
        Degradation(outputs=[1])(item(1, 8, 8), 0)
