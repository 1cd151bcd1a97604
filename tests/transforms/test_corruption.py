"""Spoilt images: each way spoils what it says and nothing else, from the seed alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from medexp.errors import UserError
from medexp.transforms.corruption import Corruption

WAYS: dict[str, dict[str, Any]] = {
    "intensity": {"intensity": 1.0},
    "shuffle": {"shuffle": 1.0, "blocks": 5},
    "paint": {"paint": 1.0},
    "masked": {"masked": 0.6, "patch": 4},
}


def scan(*shape: int) -> torch.Tensor:
    return torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("size", [(20, 23), (12, 14, 16)])
@pytest.mark.parametrize("way", WAYS)
def test_what_is_spoilt_follows_from_the_seed_and_the_reference_is_the_image(way: str, size: tuple[int, ...]) -> None:
    image, spoil = scan(*size), Corruption(**WAYS[way])
    made = spoil({"image": image.half(), "case_id": "a"}, 3)
    assert torch.equal(made["reference"], image.half().float())
    assert made["image"].shape == image.shape
    assert type(made["image"]) is torch.Tensor
    assert not torch.equal(made["image"], made["reference"])
    spoil({"image": image}, 4)
    assert torch.equal(spoil({"image": image.half()}, 3)["image"], made["image"])
    assert not torch.equal(spoil({"image": image.half()}, 4)["image"], made["image"])


def test_grey_values_keep_their_order_and_range() -> None:
    image = scan(20, 23)
    made = Corruption(intensity=1.0)({"image": image}, 3)["image"].flatten()[image.flatten().argsort()]
    assert (made.diff() >= -1e-5).all()
    torch.testing.assert_close(torch.stack([made.min(), made.max()]), torch.stack([image.min(), image.max()]))


def test_shuffled_voxels_are_those_that_were_there() -> None:
    image = scan(20, 23)
    made = Corruption(shuffle=1.0)({"image": image}, 3)["image"]
    assert torch.equal(made.flatten().sort().values, image.flatten().sort().values)


def test_painted_boxes_have_one_value_and_the_rest_is_as_it_was() -> None:
    image, outside = scan(20, 23), 0
    for seed in range(20):
        made = Corruption(paint=1.0, holes=2)({"image": image}, seed)["image"]
        changed = made != image
        assert len(made[changed].unique()) == 1
        assert 0 < changed.float().mean() < 1
        outside += bool(changed[0, [0, 0, -1, -1], [0, -1, 0, -1]].all())
    assert 0 < outside < 10


def test_a_share_of_whole_patches_is_hidden() -> None:
    image = scan(16, 18) + 100
    made = Corruption(masked=0.5, patch=4)({"image": image}, 3)["image"]
    hidden = made == 0
    assert torch.equal(made[~hidden], image[~hidden])
    patches = hidden[0, :, :16].unfold(0, 4, 4).unfold(1, 4, 4).float().mean(dim=(2, 3))
    assert set(patches.flatten().tolist()) == {0.0, 1.0}
    assert 0.3 < hidden.float().mean() < 0.7
    spoilt = Corruption(masked=0.5, patch=4, shuffle=1.0)({"image": image}, 3)
    assert (spoilt["image"][spoilt["hidden"]] == 0).all()
    assert (spoilt["image"][~spoilt["hidden"]] != image[~spoilt["hidden"]]).any()
    assert "hidden" not in Corruption(paint=1.0)({"image": image}, 3)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "degradation: nothing is spoilt"),
        ({"paint": 2}, "degradation.paint: 2 is no probability"),
        ({"intensity": 1.0, "control_points": []}, "degradation.control_points: got \\[\\]; allowed: .* 3 to 100"),
        ({"intensity": 1.0, "control_points": [0, 0]}, "degradation.control_points: got"),
        ({"intensity": 1.0, "control_points": [8, 4]}, "degradation.control_points: got"),
        ({"masked": 1.0}, "degradation.masked: 1.0 is not"),
        ({"masked": 0.5, "patch": 0}, "degradation.patch: 0 is less than 1"),
    ],
)
def test_values_that_mean_nothing_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        Corruption(**given)
