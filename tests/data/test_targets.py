"""Targets as tasks want them, and what is said of those that are none."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from medexp.data.records import Record
from medexp.data.targets import encode
from medexp.errors import UserError

CLASSES = ["healthy", "benign", "malignant"]


def record(target: Any) -> Record:
    return Record("case7", (), target=target)


def test_a_column_a_class_marks_the_labels_of_a_case() -> None:
    columns = {"malignant": "1", "healthy": "0", "benign": " 1"}
    assert encode(record(columns), CLASSES, "multilabel").tolist() == [0, 1, 1]
    with pytest.raises(UserError, match="case7: 'yes' in column 'benign' is neither 1"):
        encode(record({**columns, "benign": "yes"}), CLASSES, "multilabel")
    with pytest.raises(UserError, match="did you mean 'malignant'"):
        encode(record({"malign": "1"}), CLASSES, "multilabel")


@pytest.mark.parametrize(("target", "index"), [("healthy", 0), ("malignant", 2), (1, 1), (2.0, 2)])
def test_an_index_is_found_by_name_or_number(target: Any, index: int) -> None:
    found = encode(record(target), CLASSES, "index")
    assert found.dtype == torch.int64
    assert found.tolist() == [index]


def test_a_number_that_is_a_name_is_that_name() -> None:
    assert encode(record(3), ["3", "1", "2"], "index").tolist() == [0]
    assert encode(record("1"), ["3", "1", "2"], "index").tolist() == [1]


def test_the_second_class_of_a_yes_or_no_is_the_positive_one() -> None:
    for target, value in (("no", 0.0), ("yes", 1.0), (1, 1.0)):
        found = encode(record(target), ["no", "yes"], "binary")
        assert found.dtype == torch.float32
        assert found.tolist() == [value]


@pytest.mark.parametrize(
    ("target", "hot"),
    [
        (["benign", "healthy"], [1, 1, 0]),
        ([], [0, 0, 0]),
        ([1, 0, 1], [1, 0, 1]),
        ([True, False, False], [1, 0, 0]),
        ((2,), [0, 0, 1]),
        (["benign", "benign"], [0, 1, 0]),
    ],
)
def test_several_labels_are_named_or_marked_by_0_and_1(target: Any, hot: list[int]) -> None:
    found = encode(record(target), CLASSES, "multilabel")
    assert found.dtype == torch.float32
    assert found.tolist() == hot


@pytest.mark.parametrize(
    ("target", "kind", "message"),
    [
        ("benin", "index", "class 'benin' is not in dataset.classes; did you mean 'benign'"),
        (3, "index", "class '3' is not in dataset.classes"),
        (-1, "index", "class '-1' is not in dataset.classes"),
        (0.5, "index", "class '0.5' is not in dataset.classes"),
        (None, "index", "has no class"),
        ("benign", "binary", "dataset.classes: 3 names, but a yes-or-no task has 2"),
        ("benign", "multilabel", "target 'benign' is not a list of classes"),
        (["benign", "malign"], "multilabel", "did you mean 'malignant'"),
        ([0, 0, 1, 0], "multilabel", "4 labels, dataset.classes names 3"),
        ([0, 1, 1, 0, 0], "multilabel", "5 labels, dataset.classes names 3"),
    ],
)
def test_a_target_that_is_none_is_named_with_the_next_move(target: Any, kind: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        encode(record(target), CLASSES, kind)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
