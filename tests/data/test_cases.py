"""Training cases: every draw is a function of seed, epoch and index; patches have one size and the wanted foreground."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from medexp.data.cases import EvalCases, Item, TrainCases, collate, crop
from medexp.data.order import Draw
from medexp.data.preparation.prepare import Grid, Prepared
from medexp.data.store.entries import InMemory, Kept
from medexp.data.store.pack import pack

GRID = Grid((1, 1, 1), np.eye(4), (1.0, 1.0, 1.0))
PATCH = (6, 6, 6)


def case(
    index: int = 0, shape: tuple[int, ...] = (20, 18, 16), lesion: int = 1, dims: int = 3
) -> tuple[Item, Prepared]:
    """Noise with `lesion` voxels of class 2 at an edge and a slab of class 1."""
    rng = np.random.default_rng(index)
    label = torch.zeros((1, *shape[:dims]), dtype=torch.uint8)
    label[0, -4:-2] = 1
    label[(0, *[0] * (dims - 1), slice(1, 1 + lesion))] = 2
    image = torch.from_numpy(rng.normal(size=(2, *shape[:dims])).astype(np.float32))
    return {"case_id": f"case{index}"}, Prepared(image, label, np.eye(4), GRID)


def kept(cases: list[tuple[Item, Prepared]]) -> list[tuple[Item, Kept]]:
    return [(facts, InMemory(*pack(prepared))) for facts, prepared in cases]


def noisy(item: Item, seed: int) -> Item:
    generator = torch.Generator().manual_seed(seed)
    return {**item, "image": item["image"] + torch.rand(item["image"].shape, generator=generator)}


def train(cases: list[tuple[Item, Prepared]], foreground: float = 0.5, **options: Any) -> TrainCases:
    return TrainCases(
        kept(cases), **{"seed": 3, "patch_size": PATCH, "foreground": foreground, "augmentation": None, **options}
    )


@pytest.mark.parametrize("workers", [0, 2])
def test_a_key_gives_one_item_whatever_the_order_and_the_worker(workers: int) -> None:
    cases = train([case(index) for index in range(4)], augmentation=noisy)
    keys = [Draw(epoch, index) for epoch in (0, 1) for index in range(4)]
    loader = DataLoader(cases, sampler=keys[::-1], batch_size=1, num_workers=workers, collate_fn=collate)  # type: ignore[arg-type]
    for key, batch in zip(keys[::-1], loader, strict=True):
        alone = train([case(index) for index in range(4)], augmentation=noisy)[key]
        assert torch.equal(batch["image"][0], alone["image"])
        assert torch.equal(batch["label"][0], alone["label"])
    first, *others = (cases[Draw(*place)]["image"] for place in ((0, 0, 0), (1, 0, 0), (0, 0, 1), (0, 1, 0)))
    assert not any(torch.equal(first, other) for other in others)  # another epoch, repeat or case: another patch


def test_image_and_label_are_cut_at_one_place() -> None:
    facts, prepared = case()
    assert prepared.label is not None
    prepared.image[0] = prepared.label[0]
    cases = train([(facts, prepared)])
    for epoch in range(20):
        item = cases[Draw(epoch, 0)]
        assert torch.equal(item["image"][0], item["label"][0].float())
        assert item["case_id"] == "case0"


@pytest.mark.parametrize("shape", [(20, 18, 16), (6, 6, 6), (4, 18, 16), (3, 4, 5), (1, 6, 30)])
def test_a_patch_has_its_size_also_where_the_volume_is_smaller(shape: tuple[int, int, int]) -> None:
    facts, prepared = case(shape=shape)
    for foreground in (0.0, 1.0):
        item = train([(facts, prepared)], foreground)[Draw(0, 0)]
        assert item["image"].shape == (2, *PATCH)
        assert item["label"].shape == (1, *PATCH)
        assert item["label"].dtype == torch.uint8
        assert item["image"].is_contiguous()


def test_padding_is_shared_by_both_ends_and_repeats_the_edge_as_the_inferers_do() -> None:
    image, label = np.full((1, 3, 4), 5.0, np.float16), np.ones((1, 3, 4), np.uint8)
    image[0, 0, 0] = -2.0
    label[0, 2] = 3
    patch = crop(InMemory({"image": image, "label": label}, {}), (6, 4), (0, 0))
    assert patch["image"].dtype == torch.float16
    assert patch["label"][0, :, 0].tolist() == [1, 1, 1, 3, 3, 3]
    assert patch["label"].dtype == torch.uint8
    assert patch["image"][0, :, 0].tolist() == [-2, -2, 5, 5, 5, 5]


def test_with_foreground_1_every_patch_shows_a_class_and_a_tiny_one_as_often_as_a_large_one() -> None:
    cases = train([case()], foreground=1.0)
    seen = [set(cases[Draw(epoch, 0)]["label"].unique().tolist()) - {0} for epoch in range(200)]
    assert all(seen)
    assert 0.35 < np.mean([2 in classes for classes in seen]) < 0.65  # one voxel against 576


@pytest.mark.parametrize("foreground", [0.0, 0.5])
def test_foreground_is_the_share_of_patches_placed_on_it(foreground: float) -> None:
    facts, prepared = case(shape=(60, 60, 60))
    assert prepared.label is not None
    prepared.label[:] = 0
    prepared.label[0, 30, 30, 30] = 1
    cases = train([(facts, prepared)], foreground)
    share = np.mean([bool(cases[Draw(epoch, 0)]["label"].any()) for epoch in range(200)])
    assert abs(share - foreground) < 0.1


def test_a_case_without_foreground_or_label_is_drawn_anywhere() -> None:
    facts, prepared = case()
    assert prepared.label is not None
    prepared.label[:] = 0
    assert train([(facts, prepared)], foreground=1.0)[Draw(0, 0)]["label"].max() == 0
    bare = Prepared(prepared.image, None, np.eye(4), GRID)
    assert train([(facts, bare)], foreground=1.0)[Draw(0, 0)].keys() == {"image", "case_id"}


@pytest.mark.parametrize("patch_size", [None, PATCH, (20, 18, 16)])
def test_what_is_written_into_an_item_does_not_reach_the_case(patch_size: tuple[int, ...] | None) -> None:
    facts, prepared = case()
    assert prepared.label is not None
    image, label = prepared.image.clone(), prepared.label.clone()
    cases = train([(facts, prepared)], patch_size=patch_size)
    item = cases[Draw(0, 0)]
    item["image"].zero_()
    item["label"].fill_(7)
    item["case_id"] = "other"
    again = cases[Draw(0, 0)]
    assert set(again["label"].unique().tolist()) <= set(label.unique().tolist())
    assert torch.equal(torch.from_numpy(cases.cases[0][1].read("image")), image.half())
    assert facts == {"case_id": "case0"}


def test_2d_patches() -> None:
    item = train([case(dims=2)], patch_size=(8, 24))[Draw(0, 0)]
    assert item["image"].shape == (2, 8, 24)


def test_evaluation_sees_cases_whole_and_in_order() -> None:
    cases = EvalCases(kept([case(index) for index in range(3)]))
    assert [item["case_id"] for item in map(cases.__getitem__, range(len(cases)))] == ["case0", "case1", "case2"]
    assert cases[1]["image"].shape == (2, 20, 18, 16)
    assert torch.equal(cases[1]["image"], case(1)[1].image.half())


def test_collate_stacks_tensors_and_lists_the_rest() -> None:
    batch = collate(
        [{"image": torch.full((1, 2), float(i)), "target": torch.tensor([i]), "case_id": str(i)} for i in (0, 1)]
    )
    assert batch["image"].tolist() == [[[0.0, 0.0]], [[1.0, 1.0]]]
    assert batch["target"].tolist() == [[0], [1]]
    assert batch["case_id"] == ["0", "1"]
