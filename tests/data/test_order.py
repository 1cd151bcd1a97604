"""The order of an epoch: f(seed, epoch), a shard a rank, classes in balance over all ranks, no draw twice."""

from __future__ import annotations

from collections import Counter
from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medexp.data.order import Draw, EpochOrder, Mixed, class_weights_of
from medexp.seeding import derive


def shards(
    count: int, ranks: int = 1, epoch: int = 0, seed: int = 1, weights: list[float] | None = None
) -> list[list[Draw]]:
    found = []
    for rank in range(ranks):
        order = EpochOrder(count, seed, rank, ranks, weights)
        order.set_epoch(epoch)
        found.append(list(order))
        assert len(order) == len(found[-1])
    return found


def interleaved(parts: list[list[Draw]]) -> list[Draw]:
    """The one sequence that all ranks together draw."""
    return list(chain.from_iterable(zip(*parts, strict=True)))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("count", "ranks"), [(10, 1), (10, 2), (10, 3), (2, 4), (1, 3)])
def test_ranks_draw_equally_many(count: int, ranks: int, weighted: bool) -> None:
    parts = shards(count, ranks, weights=[1.0] * count if weighted else None)
    assert {len(part) for part in parts} == {-(-count // ranks)}
    indices = [draw.index for part in parts for draw in part]
    assert set(indices) == set(range(count))
    if count % ranks == 0:
        assert sorted(indices) == list(range(count))  # disjoint


def test_the_order_is_a_permutation_of_seed_and_epoch_alone() -> None:
    def order(epoch: int, seed: int = 1) -> list[int]:
        (draws,) = shards(50, epoch=epoch, seed=seed)
        assert {(draw.epoch, draw.repeat) for draw in draws} == {(epoch, 0)}
        return [draw.index for draw in draws]

    assert sorted(order(0)) == list(range(50))
    assert order(0) == order(0) != order(1)
    assert order(0) != order(0, seed=2)
    assert order(3) == np.random.default_rng(derive(1, "order", 3)).permutation(50).tolist()  # of runs made so far


@settings(max_examples=60, deadline=None)
@given(
    weights=st.lists(st.sampled_from([0.0, 0.1, 1.0, 7.0]), min_size=1, max_size=30).filter(any),
    weighted=st.booleans(),
    ranks=st.integers(1, 5),
    epoch=st.integers(0, 3),
)
def test_no_two_ranks_and_no_two_positions_of_an_epoch_share_a_draw(
    weights: list[float], weighted: bool, ranks: int, epoch: int
) -> None:
    parts = shards(len(weights), ranks, epoch, weights=weights if weighted else None)
    draws = interleaved(parts)
    assert len(set(draws)) == len(draws)
    came: Counter[int] = Counter()
    for draw in draws:
        assert draw == Draw(epoch, draw.index, came[draw.index])
        came[draw.index] += 1
    if weighted:
        share = np.asarray(weights) / sum(weights) * len(draws)
        seen = np.asarray([came[index] for index in range(len(weights))])
        assert (seen >= np.floor(share - 1e-9)).all()
        assert (seen <= np.ceil(share + 1e-9)).all()


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("sizes", [{"ill": 3, "well": 57}, {"a": 1, "b": 7, "c": 25, "d": 90}])
def test_classes_come_equally_often_over_all_ranks(sizes: dict[str, int], ranks: int) -> None:
    names = [name for name, size in sizes.items() for _ in range(size)]
    weights = class_weights_of(names)
    for epoch in range(5):
        drawn = interleaved(shards(len(names), ranks, epoch, weights=weights))
        counts = Counter(names[draw.index] for draw in drawn)
        assert all(abs(counts[name] - len(drawn) / len(sizes)) <= 1 for name in sizes)


@pytest.mark.parametrize("ranks", [2, 3])
def test_each_rank_alone_is_near_the_balance_too(ranks: int) -> None:
    names = ["ill"] * 6 + ["well"] * 114
    for part in shards(len(names), ranks, weights=class_weights_of(names)):
        assert 0.3 < np.mean([names[draw.index] == "ill" for draw in part]) < 0.7


def test_over_the_epochs_every_case_of_a_frequent_class_comes_equally_often() -> None:
    names = ["ill"] * 5 + ["well"] * 45
    weights = class_weights_of(names)
    counts = Counter(draw.index for epoch in range(200) for draw in shards(50, epoch=epoch, weights=weights)[0])
    well = [counts[index] for index in range(5, 50)]  # 25 of 45 an epoch: 111 in 200
    assert 85 < min(well) <= max(well) < 137
    assert {counts[index] for index in range(5)} == {1000}  # 25 of 5 an epoch


def test_ranks_share_one_sequence_that_depends_on_seed_and_epoch_alone() -> None:
    weights = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    alone = shards(6, weights=weights)[0]
    assert interleaved(shards(6, 2, weights=weights)) == interleaved(shards(6, 3, weights=weights)) == alone
    assert alone == shards(6, weights=weights)[0]
    assert alone != shards(6, weights=weights, seed=2)[0]
    assert [d.index for d in alone] != [d.index for d in shards(6, weights=weights, epoch=1)[0]]


def test_a_case_of_weight_0_is_never_drawn() -> None:
    for epoch in range(50):
        (draws,) = shards(4, epoch=epoch, weights=[0.0, 1.0, 0.0, 3.0])
        assert Counter(draw.index for draw in draws) == {1: 1, 3: 3}


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0], [1.0, float("nan")], [0.0, 0.0], [1.0, float("inf")]])
def test_weights_that_do_not_fit_are_refused(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="one number >= 0 for each of 2 cases"):
        EpochOrder(2, 0, weights=weights)


def test_class_weights_by_hand() -> None:
    assert class_weights_of(["a", "b", "b", "b", "b"]) == [0.5, 0.125, 0.125, 0.125, 0.125]


def test_a_case_of_several_classes_counts_as_the_rarest_and_a_case_of_none_is_a_class_too() -> None:
    # any: 3, bleed: 1; the first case stands for "bleed", two for "any", three for none of them
    assert class_weights_of([["any", "bleed"], ["any"], ["any"], [], [], []]) == pytest.approx(
        [1 / 3, 1 / 6, 1 / 6, 1 / 9, 1 / 9, 1 / 9]
    )


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 20),
    ranks=st.integers(1, 3),
    each=st.integers(1, 3),
    pool=st.integers(1, 30),
    draws=st.integers(1, 30),
    epoch=st.integers(0, 7),
)
def test_cases_of_another_kind_lie_at_even_distances_among_those_of_each_rank(
    count: int, ranks: int, each: int, pool: int, draws: int, epoch: int
) -> None:
    mixed = Mixed(pool, draws)
    for rank in range(ranks):
        order = EpochOrder(count, 1, rank, ranks, each=each, mixed=mixed)
        alone = EpochOrder(count, 1, rank, ranks, each=each)
        order.set_epoch(epoch)
        alone.set_epoch(epoch)
        found = list(order)
        assert len(found) == len(order) == len(alone) + -(-draws // ranks)
        assert [draw for draw in found if draw.index < count] == list(alone)
        share = (len(order) - len(alone)) / len(order)
        for end in range(len(found)):
            assert abs(sum(draw.index >= count for draw in found[:end]) - share * end) < 1
        assert len(set(found)) == len(found)


def test_a_pool_is_gone_through_before_a_case_of_it_comes_again() -> None:
    mixed = Mixed(7, 3)
    found = [place for epoch in range(7) for place in mixed.drawn(1, epoch, 3)]
    assert [sorted(found[start : start + 7]) for start in (0, 7, 14)] == [list(range(7))] * 3
    assert found[:7] != found[7:14]


@pytest.mark.parametrize("ranks", [1, 2])
def test_each_case_is_drawn_so_many_times_and_no_two_draws_are_alike(ranks: int) -> None:
    draws = [draw for rank in range(ranks) for draw in EpochOrder(5, 1, rank, ranks, each=4)]
    assert Counter(draw.index for draw in draws) == dict.fromkeys(range(5), 4)
    assert len(set(draws)) == 20
