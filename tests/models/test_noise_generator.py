"""Images from noise."""

from __future__ import annotations

import pytest
import torch

from medexp.errors import UserError
from medexp.models.noise_generator import NoiseGenerator


@pytest.mark.parametrize("size", [(16, 24), (8, 16, 8)])
@pytest.mark.parametrize("classes", [None, 3])
def test_a_generator_makes_images_of_its_size_in_two_and_three_dimensions(
    size: tuple[int, ...], classes: int | None
) -> None:
    net = NoiseGenerator(len(size), 2, size, latent=5, channels=(8, 4, 4), classes=classes).eval()
    noise = torch.randn(3, 5)
    labels = None if classes is None else torch.tensor([0, 1, 2])
    found = net(noise, labels)
    assert found.shape == (3, 2, *size)
    assert not torch.allclose(found[0], found[1])
    if labels is not None:
        other = net(noise, torch.tensor([0, 2, 2]))
        assert torch.equal(other[0], found[0])
        assert not torch.equal(other[1], found[1])


def test_a_size_that_cannot_be_halved_as_often_is_said() -> None:
    with pytest.raises(UserError, match=r"model\.size: \[16, 20\] is not 2 numbers that 8 divides"):
        NoiseGenerator(2, 1, (16, 20))
