"""Whether plain config values fit annotations."""

from __future__ import annotations

import typing
from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from medexp.config.types import fits, spell

PLAIN = (bool, int, float, str, list, dict, type(None))
scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5))
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=2)),
)
hints = st.sampled_from(
    [bool, int, float, str, None, list, dict, Path, nn.Module, Sequence[int], list[str], Literal["a", 2]]
)


@given(value=values)
def test_a_plain_type_takes_its_own_values_only_and_float_takes_int(value: Any) -> None:
    for hint in (bool, str, list, dict):
        assert fits(value, hint) is (type(value) is hint)
    assert fits(value, int) is (type(value) is int)
    assert fits(value, float) is (type(value) in (int, float))


@given(value=values, hint=hints)
def test_optional_takes_none_and_whatever_the_hint_takes(value: Any, hint: Any) -> None:
    assert fits(value, typing.Optional[hint]) is (value is None or fits(value, hint))  # noqa: UP045


@given(value=values, first=hints, second=hints)
def test_a_union_takes_what_one_of_its_sides_takes(value: Any, first: Any, second: Any) -> None:
    assert fits(value, typing.Union[first, second]) is (fits(value, first) or fits(value, second))  # noqa: UP007


@given(items=st.lists(scalars, max_size=4), hint=st.sampled_from([int, float, str, bool]))
def test_a_sequence_is_held_item_by_item(items: list[Any], hint: type) -> None:
    expected = all(fits(item, hint) for item in items)
    for kind in (Sequence[hint], list[hint], tuple[hint, ...], Iterable[hint]):  # type: ignore[valid-type]
        assert fits(items, kind) is expected


@given(value=values)
def test_what_no_annotation_says_takes_everything(value: Any) -> None:
    assert fits(value, Any)
    assert fits(value, typing.TypeVar("T"))
    assert fits(value, "AForwardReference")
    assert fits(value, object)


@given(value=values, hint=hints)
def test_a_literal_and_annotated_are_looked_into(value: Any, hint: Any) -> None:
    assert fits(value, typing.Annotated[hint, "voxels"]) is fits(value, hint) if hint is not None else True


@pytest.mark.parametrize("text", ["liver", ""])
def test_a_text_is_no_sequence_of_letters(text: str) -> None:
    assert not fits(text, Sequence[str])
    assert not fits(text, Iterable[str])
    assert not fits(text, list)
    assert fits(text, str | Sequence[str])


def test_objects_come_from_nodes_only() -> None:
    node = {"_target_": "torch.nn.ReLU"}
    for hint in (nn.Module, torch.Tensor, Callable[..., int], Callable):
        assert fits(node, hint)
        for value in (3, "relu", [1], {"relu": 1}, True):
            assert not fits(value, hint), (value, hint)


def test_hashable_and_path_take_text() -> None:
    assert fits("image", Hashable)
    assert fits("scan.nii.gz", Path)
    assert not fits(3, Path)


def test_a_hint_is_said_as_a_user_would() -> None:
    assert spell(int) == "int"
    assert spell(typing.Optional[int]) == "Optional[int]"  # noqa: UP045
    assert spell(Sequence[float] | None) == "Sequence[float] | None"
    assert spell(typing.Literal["a", "b"]) == "Literal['a', 'b']"
