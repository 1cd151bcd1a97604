"""Two views of an image: different, of one size, and a function of the seed alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from medexp.data.cases import TrainCases
from medexp.data.order import Draw
from medexp.data.store.entries import InMemory
from medexp.transforms.augmentation import Augmentation
from medexp.transforms.views import TwoViews, middle


def views(dims: int, **options: Any) -> TwoViews:
    change = Augmentation(dims, crop=0.8, crop_scale=0.5, flip=0.5, noise=1.0, noise_std=0.3)
    return TwoViews(change, **options)


def scan(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(1, *shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", [(20, 24), (12, 14, 16)])
def test_views_are_of_the_image_and_not_equal_to_it_or_each_other(size: tuple[int, ...]) -> None:
    image = scan(*size)
    made = views(len(size))({"image": image, "case_id": "a"}, 7)
    assert made["image"] is image
    assert made["case_id"] == "a"
    assert made["first"].shape == made["second"].shape == image.shape
    assert made["first"].dtype == torch.float32
    assert not torch.equal(made["first"], made["second"])
    assert not torch.equal(made["first"], image)


def test_views_follow_from_the_seed_alone() -> None:
    change, item = views(2), {"image": scan(20, 24)}
    first = change(item, 7)
    change(item, 8)  # what is drawn between changes nothing
    assert torch.equal(change(item, 7)["second"], first["second"])
    assert not torch.equal(change(item, 8)["second"], first["second"])


def test_views_of_a_large_scan_are_of_its_middle_and_small_ones_are_padded() -> None:
    image = torch.arange(6.0 * 9).view(1, 6, 9)
    assert torch.equal(middle(image, (2, 3)), image[:, 2:4, 3:6])
    padded = middle(image, (8, 9))
    assert torch.equal(padded[:, 1:7], image)
    assert torch.equal(padded[:, 0], image[:, 0])
    assert views(2, patch_size=[4, 4])({"image": image}, 1)["first"].shape == (1, 4, 4)


def test_training_draws_are_of_seed_epoch_and_index() -> None:
    cases = [({"case_id": str(i)}, InMemory({"image": scan(12, 12, seed=i).numpy()}, {})) for i in range(2)]
    data = [TrainCases(cases, seed, (8, 8), 0.0, views(2)) for seed in (0, 0, 1)]
    one, same, other = (each[Draw(3, 1)] for each in data)
    assert torch.equal(one["first"], same["first"])
    assert torch.equal(one["second"], same["second"])
    for different in (other, data[0][Draw(4, 1)], data[0][Draw(3, 0)], data[0][Draw(3, 1, 1)]):
        assert not torch.equal(one["first"], different["first"])
        assert not torch.equal(one["second"], different["second"])


def test_half_precision_of_the_store_is_not_that_of_the_views() -> None:
    image = scan(20, 24)
    made = views(2)({"image": image.half()}, 7)
    assert made["first"].dtype == torch.float32
    assert len(made["first"].unique()) > len(image.half().unique()) // 2
