"""Boxes on the prepared grid, in patches and in batches lie where the objects lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medexp.data import boxes
from medexp.data.boxes import carried
from medexp.data.cases import EvalCases, TrainCases, collate
from medexp.data.formats.scan import Scan
from medexp.data.order import Draw
from medexp.data.preparation.prepare import Preparation
from medexp.data.records import Box, Record
from medexp.data.store.entries import InMemory
from medexp.data.store.pack import pack
from medexp.data.targets import encode
from medexp.errors import UserError
from medexp.transforms.augmentation import Augmentation

CODES = ("RAS", "LPS", "PIR", "SLA", "ASR")


def scan_of(array: Any, codes: str, spacing: list[float]) -> Scan:
    """(1, *spatial) with axes of these codes."""
    turn = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt(tuple(codes)), nib.orientations.axcodes2ornt("RAS")
    )
    affine = np.zeros((4, 4))
    for axis, (target, flip) in enumerate(turn):
        affine[int(target), axis] = flip * spacing[axis]
    affine[3, 3], affine[:3, 3] = 1, (-20, 30, 7)
    return Scan(array, affine, tuple(spacing))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    codes=st.sampled_from(CODES),
    wanted=st.sampled_from([None, "RAS", "LPI"]),
    how=st.sampled_from(["spacing", "size", "crop", "plain"]),
)
def test_a_box_drawn_as_a_mask_and_prepared_is_the_prepared_box(
    seed: int, codes: str, wanted: str | None, how: str
) -> None:
    rng = np.random.default_rng(seed)
    shape = rng.integers(12, 22, 3)
    lower = rng.integers(2, shape - 9)
    upper = lower + rng.integers(4, 7, 3)
    cut = tuple(slice(a, b) for a, b in zip(lower, upper, strict=True))
    label = np.zeros(tuple(shape), np.int32)
    label[cut] = 1
    image = np.zeros((1, *shape), np.float32)
    image[(slice(None), *(slice(max(c.start - 2, 0), c.stop + 1) for c in cut))] = 1
    options: dict[str, Any] = {"crop_foreground": how == "crop"}
    options |= {"spacing": [1.3, 0.8, 1.7]} if how == "spacing" else {}
    options |= {"image_size": [17, 14, 20]} if how == "size" else {}
    spacing = rng.uniform(0.7, 2.0, 3).tolist()
    label_scan = scan_of(label, codes, spacing)
    prepared = Preparation(3, 1, wanted, **options).prepare(scan_of(image, codes, spacing), label_scan)
    box = torch.tensor([[*lower, *upper]]).float()
    moved = carried(box, prepared.source.affine, prepared.affine)[0].numpy()
    assert prepared.label is not None
    places = torch.nonzero(prepared.label[0])
    seen = np.array([*places.min(dim=0).values.tolist(), *(places.max(dim=0).values + 1).tolist()])
    tolerance = 1e-3 if how in ("plain", "crop") else 1.0
    assert np.abs(moved - seen).max() <= tolerance
    back = carried(torch.from_numpy(moved)[None], prepared.affine, prepared.source.affine)
    torch.testing.assert_close(back, box, atol=1e-3, rtol=0)


def kept(shape: tuple[int, ...], marks: list[tuple[int, ...]]) -> InMemory:
    """A case on its own grid with a bright voxel a mark."""
    image = np.zeros((1, *shape), np.float32)
    for mark in marks:
        image[(0, *mark)] = 100
    affine = np.eye(4)
    return InMemory(*pack(Preparation(len(shape), 1).prepare(Scan(image, affine, (1.0,) * len(shape)))))


def case(shape: tuple[int, ...], marks: list[tuple[int, ...]]) -> tuple[dict[str, Any], InMemory]:
    """A case with a box of 3 voxels a side around each mark; class: its number modulo 2."""
    rows = [[*(m - 1 for m in mark), *(m + 2 for m in mark), number % 2] for number, mark in enumerate(marks)]
    stored = kept(shape, marks)
    facts = {"case_id": "a", "target": torch.tensor(rows).float().view(-1, 2 * len(shape) + 1)}
    return boxes.placed(facts, stored, "boxes"), stored


def on_marks(item: dict[str, Any]) -> None:
    """Every box has its mark in the middle, and every mark its box."""
    image = item["image"][0]
    marked = {tuple(place) for place in torch.nonzero(image > 30).tolist()}
    lower, upper = item["boxes"].chunk(2, dim=1)
    centres = {tuple(place) for place in ((lower + upper) / 2 - 0.5).round().int().tolist()}
    assert centres == marked
    assert len(item["box_classes"]) == len(item["boxes"])


@pytest.mark.parametrize("size", [(8, 8), (20, 8), (12, 12)])
def test_a_patch_has_the_boxes_whose_centres_lie_in_it(size: tuple[int, ...]) -> None:
    one = case((12, 16), [(1, 1), (6, 6), (7, 13), (10, 3)])
    counts = set()
    for epoch in range(30):
        item = TrainCases([one], 0, size, 0.5, None)[Draw(epoch, 0)]
        on_marks(item)
        counts.add(len(item["boxes"]))
    assert len(counts) > 1 or size == (20, 16)


def test_patches_of_the_foreground_hold_an_object() -> None:
    one = case((40, 40), [(5, 5)])
    assert all(len(TrainCases([one], 0, (8, 8), 1.0, None)[Draw(epoch, 0)]["boxes"]) == 1 for epoch in range(20))
    plain = [len(TrainCases([one], 0, (8, 8), 0.0, None)[Draw(epoch, 0)]["boxes"]) for epoch in range(20)]
    assert sum(plain) < 10


def test_a_case_without_objects_has_none_and_its_patches_lie_anywhere() -> None:
    item = TrainCases([case((12, 16), [])], 0, (8, 8), 1.0, None)[Draw(0, 0)]
    assert item["boxes"].shape == (0, 4)
    assert item["box_classes"].shape == (0,)


@pytest.mark.parametrize("shape", [(24, 24), (16, 16, 16)])
def test_augmentation_moves_boxes_with_the_image(shape: tuple[int, ...]) -> None:
    """Blobs are drawn in the boxes, so that each can be found again by its brightness, also where boxes overlap."""
    axes = len(shape)
    move = Augmentation(axes, crop=0.3, crop_scale=0.8, flip=0.5, turn=0.5, affine=0.8, rotate=40, scale=0.2, shift=0.1)
    grid = torch.stack(torch.meshgrid(*map(torch.arange, shape), indexing="ij")).float()
    centre, half = torch.tensor([s * 0.45 for s in shape]), torch.tensor([4.0, 2.5, 3.0][:axes])
    blob = (((grid - centre.view(-1, *[1] * axes)) / half.view(-1, *[1] * axes)).square().sum(dim=0) < 1).byte()
    box = torch.cat([centre - half, centre + half]) + 0.5
    for seed in range(40):
        item = {"image": blob[None].float(), "label": blob[None], "boxes": box[None], "box_classes": torch.ones(1)}
        moved = move(item, seed)
        if not len(moved["boxes"]):
            continue
        places = torch.nonzero(moved["label"][0])
        seen = torch.cat([places.min(dim=0).values, places.max(dim=0).values + 1]).float()
        limits = torch.tensor(shape * 2).float()
        whole = bool(((moved["boxes"][0] >= 1) & (moved["boxes"][0] <= limits - 1)).all())
        if whole:  # cut off at the border otherwise
            assert (moved["boxes"][0] - seen).abs().max() <= 1.3, seed
    assert torch.equal(box, item["boxes"][0]), "the input is never written to"


def test_augmented_training_items_keep_their_own_boxes() -> None:
    one = case((16, 16), [(4, 4), (10, 12)])
    for size in (None, (12, 12)):
        items = [
            TrainCases([one], 0, size, 0.5, Augmentation(2, flip=0.5, turn=0.5))[Draw(epoch, 0)] for epoch in range(20)
        ]
        for item in items:
            on_marks(item)
    assert torch.equal(one[0]["boxes"], torch.tensor([[3.0, 3, 6, 6], [9, 11, 12, 14]]))


def test_bending_boxes_is_refused() -> None:
    facts, _ = case((16, 16), [(4, 4)])
    item = {"image": torch.zeros(1, 16, 16), **facts}
    with pytest.raises(UserError, match=r"augmentation\.elastic: .*set augmentation\.elastic=0"):
        Augmentation(2, elastic=1.0)(item, 0)


def test_cases_of_different_numbers_of_objects_are_padded() -> None:
    cases = [case((12, 12), [(4, 4), (8, 8)]), case((12, 12), [])]
    batch = collate([EvalCases(cases)[index] for index in range(2)])
    assert batch["boxes"].shape == (2, 2, 4)
    assert batch["box_classes"].tolist() == [[0, 1], [-1, -1]]
    assert collate([EvalCases(cases[1:])[0]])["boxes"].shape == (1, 0, 4)


def test_objects_that_were_cropped_away_are_left_out() -> None:
    image = np.zeros((1, 12, 12), np.float32)
    image[:, 4:8, 4:8] = 1
    stored = InMemory(*pack(Preparation(2, 1, crop_foreground=True).prepare(Scan(image, np.eye(4), (1.0, 1.0)))))
    rows = torch.tensor([[3.0, 3, 7, 7, 0], [0, 0, 3, 3, 0]])
    facts = boxes.placed({"case_id": "a", "target": rows}, stored, "boxes")
    assert facts["boxes"].tolist() == [[-1, -1, 3, 3]]


def test_what_the_encoder_says_of_classes_and_of_cases_without_boxes() -> None:
    record = Record("a", (Path("a.png"),), boxes=(Box("cell", (1, 2), (3, 4)),))
    assert encode(record, ["x", "cell"], "boxes").tolist() == [[1, 2, 3, 4, 1]]
    with pytest.raises(UserError, match=r"case a: box 'cell' is not in dataset\.classes; did you mean 'cells'"):
        encode(record, ["cells"], "boxes")
    with pytest.raises(UserError, match="case b: has no boxes"):
        encode(Record("b", (Path("a.png"),)), ["cell"], "boxes")
    assert len(encode(Record("c", (Path("a.png"),), boxes=()), ["cell"], "boxes")) == 0
