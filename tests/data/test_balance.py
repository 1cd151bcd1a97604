"""Cases of rare classes are drawn as often as the config says, over all ranks together."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from medexp.data.balance import case_weights
from medexp.data.order import EpochOrder
from medexp.data.records import Record
from medexp.data.store.entries import InMemory
from medexp.errors import UserError

CLASSES = ["well", "ill"]


def records(targets: list[Any]) -> list[Record]:
    return [Record(str(index), (), target=target) for index, target in enumerate(targets)]


def drawn(weights: list[float] | None, ranks: int) -> Counter[int]:
    assert weights is not None
    return Counter(draw.index for rank in range(ranks) for draw in EpochOrder(len(weights), 0, rank, ranks, weights))


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("targets", [["well"] * 90 + ["ill"] * 10, [0] * 90 + [1] * 10])
def test_every_class_comes_equally_often(targets: list[Any], ranks: int) -> None:
    counts = drawn(case_weights("class", [], records(targets), CLASSES, "binary"), ranks)
    assert sum(count for index, count in counts.items() if index >= 90) == pytest.approx(50, abs=1)


def test_shares_are_those_of_the_config() -> None:
    counts = drawn(case_weights({"ill": 3.0}, [], records(["well"] * 50 + ["ill"] * 50), CLASSES, "index"), 1)
    assert sum(count for index, count in counts.items() if index >= 50) == pytest.approx(75, abs=1)


def test_a_label_map_stands_for_the_rarest_class_in_it() -> None:
    both = {"places": {"1": [0, 1], "2": [1, 2]}}
    cases = [({}, InMemory({"image": np.zeros(1)}, facts)) for facts in [both] + [{"places": {"1": [0, 1]}}] * 8 + [{}]]
    weights = case_weights("class", cases, [], ["background", "organ", "lesion"], "mask")
    assert weights == pytest.approx([1 / 3, *[1 / 24] * 8, 1 / 3])


def test_without_balance_every_case_comes_once() -> None:
    assert case_weights(None, [], records(["well", "ill"]), CLASSES, "index") is None


@pytest.mark.parametrize(
    ("balance", "said"),
    [({"il": 1.0}, "no class 'il'; did you mean 'ill'"), ({"ill": -1.0}, "share below 0")],
)
def test_what_fits_no_class_is_said(balance: dict[str, float], said: str) -> None:
    with pytest.raises(UserError, match=said):
        case_weights(balance, [], records(["well", "ill"]), CLASSES, "index")
