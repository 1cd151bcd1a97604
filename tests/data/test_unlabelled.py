"""Batches of labelled and unlabelled cases: whose order is a function of seed and epoch, and which never hold a label."""

from __future__ import annotations

from itertools import chain
from typing import Any

import pytest
import torch

from medexp.data.cases import collate
from medexp.data.order import Draw, Position
from medexp.data.unlabelled import STRONG, BesideOrder, Unlabelled
from medexp.errors import UserError
from medexp.transforms.augmentation import Augmentation


def order(rank: int = 0, ranks: int = 1, epoch: int = 0, **options: Any) -> BesideOrder:
    given: dict[str, Any] = {"count": 3, "seed": 1, "bare": 11, "batch_size": 2, "per_batch": 3, **options}
    made = BesideOrder(given.pop("count"), given.pop("seed"), rank, ranks, **given)
    made.set_epoch(epoch)
    return made


def batches(one: BesideOrder) -> list[list[Draw]]:
    draws = list(one)
    assert len(draws) == len(one) == one.steps * one.batch
    return [draws[start : start + one.batch] for start in range(0, len(draws), one.batch)]


@pytest.mark.parametrize("ranks", [1, 2])
def test_every_batch_has_labelled_cases_and_then_unlabelled_ones(ranks: int) -> None:
    for rank in range(ranks):
        for batch in batches(order(rank, ranks)):
            assert [draw.index < 3 for draw in batch] == [True, True, False, False, False]


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_an_epoch_is_the_unlabelled_cases_and_no_draw_comes_twice(ranks: int) -> None:
    draws = list(chain.from_iterable(order(rank, ranks, bare=12, per_batch=2) for rank in range(ranks)))
    bare = [draw for draw in draws if draw.index >= 3]
    assert sorted(draw.index for draw in bare) == list(range(3, 15))
    assert len(set(draws)) == len(draws)  # the labelled start over, as another repeat: another patch, other changes
    tally = [sum(draw.index == index for draw in draws) for index in range(3)]
    assert max(tally) - min(tally) <= 1


def test_the_order_is_of_seed_and_epoch_alone() -> None:
    assert list(order()) == list(order())
    assert list(order()) != list(order(epoch=1))
    assert list(order()) != list(order(seed=2))


def test_the_rest_of_an_epoch_is_what_was_not_consumed() -> None:
    whole = list(order(epoch=2))
    rest = BesideOrder(3, 1, start=Position(2, 2, 5, 1), bare=11, batch_size=2, per_batch=3)
    assert list(rest) == whole[10:]


def test_labelled_cases_come_in_proportion_to_their_weights() -> None:
    draws = [draw for draw in order(weights=[1.0, 0.0, 3.0], bare=40, per_batch=2) if draw.index < 3]
    tally = [sum(draw.index == index for draw in draws) for index in range(3)]
    assert tally == [10, 0, 30]


def test_fewer_unlabelled_cases_than_a_batch_holds_are_a_smaller_batch() -> None:
    assert [len(batch) for batch in batches(order(bare=2, per_batch=5))] == [4]


def test_unlabelled_items_are_a_batch_of_their_own() -> None:
    items = [{"image": torch.full((1, 2, 2), float(i)), "case_id": str(i)} for i in range(4)]
    labelled = [{**item, "label": torch.zeros(1, 2, 2)} for item in items[:2]]
    batch = collate([*labelled, *({**item, "unlabelled": True} for item in items[2:])])
    assert batch["case_id"] == ["0", "1"]
    assert batch["unlabelled"].keys() == {"image", "case_id"}
    assert batch["unlabelled"]["image"][:, 0, 0, 0].tolist() == [2, 3]


def test_the_strong_view_is_the_weak_one_with_other_intensities() -> None:
    item = {"image": torch.rand(1, 8, 8)}
    weak = Augmentation(2, flip=1.0)
    change = Unlabelled(1, Augmentation(2, noise=1.0, noise_std=1e-3)).views(weak)
    assert change is not None
    found = change(item, 5)
    assert torch.equal(found["image"], weak(item, 5)["image"])
    assert not torch.equal(found["image"], item["image"])
    assert not torch.equal(found[STRONG], found["image"])
    torch.testing.assert_close(found[STRONG], found["image"], atol=0.02, rtol=0)
    assert torch.equal(change(item, 5)[STRONG], found[STRONG])
    assert not torch.equal(change(item, 6)[STRONG], found[STRONG])


def test_without_a_strong_view_the_augmentation_is_all() -> None:
    weak = Augmentation(2, flip=1.0)
    assert Unlabelled(1).views(weak) is weak


def test_a_batch_of_no_unlabelled_cases_is_refused() -> None:
    with pytest.raises(UserError, match="per_batch: 0 is less than 1"):
        Unlabelled(0)
