"""Augmentation after the transfer of a batch: the draws and, on one device, the values that workers would have given."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.transforms import NormalizeIntensity

from medexp.data.cases import SEED, Item, augmented, collate
from medexp.data.module import DataModule
from medexp.data.sources.phantom import records
from medexp.data.splits.make import make_split
from medexp.transforms.augmentation import Augmentation

EVERYTHING: dict[str, Any] = {
    "crop": 0.5, "flip": 0.5, "turn": 0.5, "affine": 0.7, "rotate": 20, "scale": 0.2, "shift": 0.1, "elastic": 0.2,
    "noise": 0.5, "blur": 0.5, "brightness": 0.5, "contrast": 0.5, "low_resolution": 0.5, "gamma": 0.5,
}  # fmt: skip
# What reads no value of a tensor to decide what comes next, so that it can be tried on tensors without values.
BLIND = {key: EVERYTHING[key] for key in EVERYTHING if key not in ("elastic", "blur", "contrast", "gamma")}

PATIENTS = {2: 12, 3: 10}  # of the fixtures


def phantom_data(root: Path, on_device: bool, spatial_dims: int = 2, workers: int = 0) -> DataModule:
    data = DataModule(
        root=str(root), source=partial(records, spatial_dims=spatial_dims, patients=PATIENTS[spatial_dims]),
        spatial_dims=spatial_dims,  # type: ignore[arg-type]
        in_channels=1, classes=["background", "liver", "kidney", "lesion"], provides="mask", target="mask",
        split=make_split, normalize=NormalizeIntensity(channel_wise=True), patch_size=[32] * spatial_dims,
        batch_size=2, num_workers=workers, augmentation=Augmentation(spatial_dims, **EVERYTHING),
        augment_on_device=on_device,
    )  # fmt: skip
    data.setup()
    return data


def batches(data: DataModule) -> list[Item]:
    """What a task is given in an epoch."""
    return [data.on_after_batch_transfer(batch, 0) for batch in data.train_dataloader()]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_on_a_cpu_batches_are_those_that_workers_augment(
    workers: int, spatial_dims: int, phantom: Path, phantom_2d: Path
) -> None:
    root = {2: phantom_2d, 3: phantom}[spatial_dims]
    late = batches(phantom_data(root, True, spatial_dims))
    early = batches(phantom_data(root, False, spatial_dims, workers))
    assert len(late) == len(early) > 1
    for one, other in zip(late, early, strict=True):
        assert one.keys() == other.keys()
        assert one["case_id"] == other["case_id"]
        assert one["image"].dtype == torch.float32
        for name in ("image", "label"):
            assert torch.equal(one[name], other[name])


def test_loaders_then_leave_images_as_they_are_and_validation_has_nothing_to_do(phantom_2d: Path) -> None:
    data = phantom_data(phantom_2d, True)
    plain = phantom_data(phantom_2d, False)
    plain.augmentation = None
    for one, other in zip(data.train_dataloader(), plain.train_dataloader(), strict=True):
        assert torch.equal(one["image"], other["image"])
        assert len(one[SEED]) == len(set(one[SEED])) == 2
    batch = next(iter(data.val_dataloader()))
    image = batch["image"].clone()
    assert torch.equal(data.on_after_batch_transfer(batch, 0)["image"], image.float())


def test_without_an_augmentation_there_is_nothing_to_leave_for_later(phantom_2d: Path) -> None:
    data = phantom_data(phantom_2d, True)
    data.augmentation = None
    assert all(SEED not in batch for batch in data.train_dataloader())
    assert len(batches(data)) > 1


def test_other_values_of_a_batch_stay_with_their_cases() -> None:
    def stamp(item: Item, seed: int) -> Item:
        return {**item, "image": item["image"] + seed}

    items = [
        {"image": torch.full((1, 2, 2), float(i)), "target": torch.tensor([i]), "case_id": str(i), SEED: 10 * i}
        for i in (1, 2)
    ]
    batch = augmented(collate(items), stamp)
    assert batch["image"][:, 0, 0, 0].tolist() == [11.0, 22.0]
    assert batch["target"].tolist() == [[1], [2]]
    assert batch["case_id"] == ["1", "2"]
    assert SEED not in batch


def test_padding_of_a_batch_is_not_taken_for_objects() -> None:
    augment = Augmentation(2, **{key: EVERYTHING[key] for key in EVERYTHING if key != "elastic"})
    found = torch.tensor([[3.0, 3, 6, 6], [9, 11, 12, 14]])
    images = torch.randn(2, 1, 20, 20)
    items = [
        {"image": image, "boxes": found[:count], "box_classes": torch.arange(float(count))}
        for image, count in zip(images, (2, 1), strict=True)
    ]
    for seed in range(20):
        early = collate([augment(item, seed + index) for index, item in enumerate(items)])
        late = augmented(collate([{**item, SEED: seed + index} for index, item in enumerate(items)]), augment)
        assert late.keys() == early.keys()
        for name, value in early.items():
            assert torch.equal(late[name], value), name


@pytest.mark.parametrize("shape", [(2, 20, 26), (2, 14, 18, 14)])
def test_tensors_stay_on_their_device(shape: tuple[int, ...]) -> None:
    augment = Augmentation(len(shape) - 1, **BLIND)
    item = {
        "image": torch.empty(shape, device="meta", dtype=torch.float16),
        "label": torch.empty((1, *shape[1:]), device="meta", dtype=torch.uint8),
    }
    for seed in range(20):
        found = augment(item, seed)
        assert all(found[name].device.type == "meta" for name in item)
        assert all(found[name].shape == item[name].shape for name in item)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("shape", [(2, 20, 26), (2, 14, 18, 14)])
def test_on_a_gpu_draws_are_equal_and_values_close(shape: tuple[int, ...]) -> None:
    augment = Augmentation(len(shape) - 1, **EVERYTHING)
    torch.manual_seed(0)
    here = {"image": torch.randn(shape), "label": torch.randint(0, 3, (1, *shape[1:]), dtype=torch.uint8)}
    there = {name: tensor.cuda() for name, tensor in here.items()}
    for seed in range(30):
        ours, theirs = augment(here, seed), augment(there, seed)
        assert all(theirs[name].is_cuda for name in here)
        torch.testing.assert_close(theirs["image"].cpu(), ours["image"], atol=2e-2, rtol=2e-2)  # TF32 in convolutions
        differ = (theirs["label"].cpu() != ours["label"]).float().mean().item()
        assert differ < 0.01  # voxels half-way between two
