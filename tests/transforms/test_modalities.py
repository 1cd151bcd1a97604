from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medexp.errors import UserError
from medexp.transforms.augmentation import Augmentation


def item(channels: int = 3, present: Any = None) -> dict[str, Any]:
    torch.manual_seed(0)
    made: dict[str, Any] = {"image": torch.randn(channels, 8, 8) + 5.0}
    return made if present is None else made | {"present": torch.tensor(present)}


def there(found: dict[str, Any]) -> list[bool]:
    return [bool(channel.any()) for channel in found["image"]]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    probability=st.sampled_from([0.0, 0.3, 0.9, 1.0]),
    present=st.lists(st.sampled_from([0.0, 1.0]), min_size=3, max_size=3).filter(any),
)
def test_never_all_go_and_present_says_which_are_left(seed: int, probability: float, present: list[float]) -> None:
    given_ = item(present=present)
    before = given_["image"].clone()
    augment = Augmentation(2, noise=1.0, brightness=1.0, modality_dropout=probability)
    found = augment(given_, seed)
    assert there(found) == [bool(value) for value in found["present"]]
    assert any(there(found))
    assert (found["present"] <= torch.tensor(present)).all()  # what a case lacks stays away
    assert torch.equal(given_["image"], before)
    again = Augmentation(2, noise=1.0, brightness=1.0, modality_dropout=probability)(given_, seed)
    assert torch.equal(found["image"], again["image"])
    if not probability:
        assert found["present"].tolist() == present


def test_each_goes_as_often_as_asked() -> None:
    augment = Augmentation(2, modality_dropout=0.3)
    gone = 1 - np.mean([there(augment(item(), seed)) for seed in range(600)], axis=0)
    assert np.abs(gone - (0.3 - 0.3**3 / 3)).max() < 0.06  # where all three would go one stays


def test_other_draws_are_the_same_with_and_without() -> None:
    plain, dropping = (Augmentation(2, flip=0.5, noise=1.0, modality_dropout=share) for share in (0.0, 0.5))
    for seed in range(8):
        found = dropping(item(), seed)
        kept = torch.tensor(there(found))
        assert torch.equal(found["image"][kept], plain(item(), seed)["image"][kept])


def test_a_share_is_a_probability() -> None:
    with pytest.raises(UserError, match=r"augmentation\.modality_dropout: got 2"):
        Augmentation(2, modality_dropout=2)
