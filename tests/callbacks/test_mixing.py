"""Blended batches: images and targets alike, draws from seed and step alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medexp.callbacks.mixing import CutMix, Mixing, Mixup
from medexp.errors import UserError

KINDS = [Mixup, CutMix]


def batch(count: int = 6, size: tuple[int, ...] = (8, 10), **more: Any) -> dict[str, Any]:
    """Image i is i everywhere, of class i % 3."""
    image = torch.arange(count).float().view(-1, 1, *[1] * len(size)).expand(-1, 2, *size).clone()
    target = torch.arange(count).view(-1, 1) % 3
    return {"image": image, "target": target, "case_id": [str(i) for i in range(count)], **more}


def mixed(kind: Mixing, given: dict[str, Any], step: int = 0, rank: int = 0, seed: int = 0) -> dict[str, Any]:
    task = SimpleNamespace(seed=seed, out_channels=3)
    trainer = SimpleNamespace(global_step=step, global_rank=rank, accumulate_grad_batches=1)
    kind.on_train_batch_start(trainer, task, given, step)  # type: ignore[arg-type]
    return given


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(8, 10), (6, 8, 10)])
@settings(max_examples=25, deadline=None)
@given(step=st.integers(0, 10**6))
def test_an_image_holds_each_class_in_the_share_that_its_target_says(
    kind: type[Mixing], size: tuple[int, ...], step: int
) -> None:
    given = batch(3, size)
    given["image"] = torch.eye(3).view(3, 3, *[1] * len(size)).expand(-1, -1, *size).clone()  # channel k: of class k
    found = mixed(kind(alpha=1.0, probability=1.0), given, step)
    assert found["target"].dtype == torch.float32
    torch.testing.assert_close(found["image"].flatten(2).mean(dim=2), found["target"], atol=1e-5, rtol=0)
    torch.testing.assert_close(found["target"].sum(dim=1), torch.ones(3))


def test_mixup_takes_one_share_for_all_voxels_and_cutmix_a_box() -> None:
    blended = mixed(Mixup(1.0), batch(), 1)["image"]
    assert (blended == blended[:, :1, :1, :1]).all()
    cut = mixed(CutMix(1.0, 1.0), batch(), 1)["image"]
    assert (cut == cut.round()).all()
    foreign = cut[:, 0] != torch.arange(6).view(-1, 1, 1)
    rows, columns = (foreign.any(dim=(0, axis)) for axis in (2, 1))
    assert int(foreign[foreign.any(dim=(1, 2))][0].sum()) == int(rows.sum()) * int(columns.sum())


def test_cutmix_moves_labels_with_their_voxels() -> None:
    given = batch()
    given["label"] = given["image"][:, :1].byte()
    del given["target"]
    found = mixed(CutMix(1.0, 1.0), given, 1)
    assert (found["label"] == found["image"][:, :1]).all()
    assert found["label"].dtype == torch.uint8
    assert (found["label"] != batch()["image"][:, :1]).any()


@pytest.mark.parametrize("kind", KINDS)
def test_draws_are_of_seed_step_and_rank_alone(kind: Any) -> None:
    one = mixed(kind(probability=1.0), batch(), 5)["image"]
    torch.manual_seed(7)
    assert torch.equal(one, mixed(kind(probability=1.0), batch(), 5)["image"])
    others = [
        mixed(kind(probability=1.0), batch(), **place)["image"] for place in ({"step": 6}, {"rank": 1}, {"seed": 1})
    ]
    assert not any(torch.equal(one, other) for other in others)


@pytest.mark.parametrize("kind", KINDS)
def test_a_share_of_the_batches_is_blended(kind: Any) -> None:
    untouched = [mixed(kind(probability=0.3), batch(), step)["target"].dtype == torch.int64 for step in range(200)]
    assert 0.6 < sum(untouched) / 200 < 0.8


def test_targets_of_labels_are_blended_as_they_are() -> None:
    target = torch.tensor([[0.0], [1.0], [0.0], [1.0], [1.0], [0.0]])
    found = mixed(Mixup(1.0), batch() | {"target": target}, 2)["target"]
    assert found.shape == (6, 1)
    assert 0 <= found.min() <= found.max() <= 1
    assert found.sum().item() == pytest.approx(3, abs=1e-5)  # every case is partner once


@pytest.mark.parametrize("kind", KINDS)
def test_what_cannot_be_blended_is_named(kind: Any) -> None:
    with pytest.raises(UserError, match=f"callbacks.{kind.word}: cannot blend 'present' of the batch"):
        mixed(kind(probability=1.0), batch(present=torch.ones(6, 1)))
    with pytest.raises(UserError, match=f"callbacks.{kind.word}.alpha: 0 is not above 0"):
        kind(alpha=0)
    with pytest.raises(UserError, match=f"callbacks.{kind.word}.probability: 2 is not between 0 and 1"):
        kind(probability=2)
