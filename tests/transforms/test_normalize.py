"""ClipZScore: a CT's window and scale, the same for every scan."""

from __future__ import annotations

import pytest
import torch

from medexp.errors import UserError
from medexp.transforms.normalize import ClipZScore


def test_a_channel_is_clipped_and_standardised_with_given_numbers() -> None:
    image = torch.tensor([[[-1000.0, 0.0, 100.0, 3000.0]]])
    out = ClipZScore([-50.0], [150.0], [50.0], [25.0])(image)
    assert out.tolist() == [[[-4.0, -2.0, 2.0, 4.0]]]
    assert image.max() == 3000  # the image itself stays


def test_a_channel_without_numbers_is_standardised_by_itself() -> None:
    image = torch.stack([torch.linspace(-1000, 1000, 64).reshape(8, 8), torch.arange(64.0).reshape(8, 8)])
    out = ClipZScore([-100, None], [100, None], [0, None], [50, None])(image)
    assert out[0].abs().max() == 2
    assert out[1].mean().item() == pytest.approx(0, abs=1e-6)
    assert out[1].std(unbiased=False).item() == pytest.approx(1)


def test_a_constant_channel_stays_finite_and_integers_become_floats() -> None:
    out = ClipZScore([None], [None], [None], [None])(torch.full((1, 4, 4), 7, dtype=torch.int16))
    assert out.dtype == torch.float32
    assert not out.any()


@pytest.mark.parametrize(
    ("lists", "said"),
    [
        (([0.0], [1.0], [0.5], [1.0, 2.0]), "low 1, high 1, mean 1, std 2"),
        (([1.0], [0.0], [0.5], [1.0]), "low must lie below high"),
        (([0.0], [1.0], [0.5], [0.0]), "std above 0"),
        (([0.0], [None], [0.5], [1.0]), "channel 0 has some of low, high, mean, std; give all or none"),
    ],
)
def test_lists_that_do_not_fit_are_refused(lists: tuple[list[float | None], ...], said: str) -> None:
    with pytest.raises(UserError, match=said):
        ClipZScore(*lists)


def test_an_image_of_other_channels_is_refused() -> None:
    with pytest.raises(UserError, match="values of 1 channels, the image has 2"):
        ClipZScore([0.0], [1.0], [0.5], [1.0])(torch.zeros(2, 4, 4))
