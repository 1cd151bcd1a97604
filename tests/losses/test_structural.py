"""Absolute error and structural similarity together."""

from __future__ import annotations

import pytest
import torch

from medexp.errors import UserError
from medexp.losses.structural import Structural


@pytest.mark.parametrize("shape", [(2, 1, 16, 16), (1, 2, 12, 12, 10)])
def test_an_image_equal_to_its_reference_costs_nothing_and_gradients_lead_there(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    reference = torch.randn(shape)
    image = (reference + 0.3 * torch.randn(shape)).requires_grad_()
    loss = Structural(len(shape) - 2)
    assert loss(reference, reference).item() == pytest.approx(0, abs=1e-6)
    before = loss(image, reference)
    before.backward()
    assert image.grad is not None
    assert loss(image.detach() - 10 * image.grad, reference) < before


def test_with_no_weight_it_is_the_absolute_error() -> None:
    image, reference = torch.rand(1, 1, 16, 16), torch.rand(1, 1, 16, 16)
    assert Structural(2, weight=0.0)(image, reference).item() == pytest.approx((image - reference).abs().mean().item())


def test_brightness_alone_does_not_change_structure_at_another_scale() -> None:
    torch.manual_seed(0)
    image, reference = torch.rand(1, 1, 16, 16), torch.rand(1, 1, 16, 16)
    loss = Structural(2, weight=1.0)
    torch.testing.assert_close(loss(5 * image - 3, 5 * reference - 3), loss(image, reference), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("options", "key"), [({"weight": 1.5}, "loss.weight"), ({"window": 4}, "loss.window")])
def test_a_number_out_of_range_is_named(options: dict[str, float], key: str) -> None:
    with pytest.raises(UserError, match=key):
        Structural(2, **options)


def test_an_image_thinner_than_the_window_is_compared_with_a_smaller_one() -> None:
    torch.manual_seed(0)
    image, reference = torch.rand(1, 1, 16, 16, 4), torch.rand(1, 1, 16, 16, 4)
    assert 0 < Structural(3)(image, reference).item() < 1
    assert Structural(3)(reference, reference).item() == pytest.approx(0, abs=1e-6)
