"""Preparation puts every case on the grid that is asked for, keeps image and label together, and finds the way back."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Sequence
from itertools import permutations, product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import (
    NormalizeIntensity,
    NormalizeIntensityd,
    Orientationd,
    RandGaussianNoise,
    ScaleIntensity,
    ScaleIntensityRangePercentiles,
    Spacingd,
)
from PIL import Image

from medexp.data.formats.scan import Array, Scan
from medexp.data.preparation.prepare import Preparation, Prepared
from medexp.data.records import Record
from medexp.errors import UserError

ORIENTATIONS = ["".join(codes) for axes in permutations(("LR", "PA", "IS")) for codes in product(*axes)]
STRAIGHT = np.array([[-1.0, 0, 0, 7], [0, 1.5, 0, -20], [0, 0, 3.0, 30], [0, 0, 0, 1]])
SAGITTAL = np.array([[0, 0, 3.0, 4], [1.0, 0, 0, 5], [0, 2.0, 0, 6], [0, 0, 0, 1]])  # a slice whose axes are y and z


def oblique(degrees: float = 10.0) -> Array:
    """STRAIGHT turned about two axes."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.eye(4)
    turn[:3, :3] = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]) @ [[1, 0, 0], [0, cos, -sin], [0, sin, cos]]
    return turn @ STRAIGHT


def places(shape: Sequence[int], affine: Array) -> Array:
    """Where each voxel centre is, mm: (*shape, 3)."""
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    return nib.affines.apply_affine(affine, np.concatenate([grid, np.zeros((*shape, 3 - len(shape)))], axis=-1))


def ramp(shape: Sequence[int], affine: Array) -> Array:
    """A value that is linear in space, whatever the grid."""
    return places(shape, affine) @ np.array([1.0, 2.0, 3.0])


def blobs(shape: Sequence[int], affine: Array, radius: float = 6.0) -> Array:
    """A ball of `radius` mm of class 1 about the middle, half of it class 2."""
    where = places(shape, affine)
    centre = where.reshape(-1, 3).mean(axis=0)
    ball = np.linalg.norm(where - centre, axis=-1) < radius
    return ball.astype(np.int32) + (ball & (where[..., 1] > centre[1]))


def scan(array: Array, affine: Array, dims: int = 3) -> Scan:
    return Scan(array, affine, tuple(nib.affines.voxel_sizes(affine))[:dims])


def prepared(preparation: Preparation, shape: Sequence[int], affine: Array) -> tuple[Prepared, Array]:
    label = blobs(shape, affine)
    image = ramp(shape, affine).astype(np.float32)[None]
    dims = len(shape)
    return preparation.prepare(scan(image, affine, dims), scan(label, affine, dims)), label


def one_hot(label: torch.Tensor, classes: int = 3) -> torch.Tensor:
    return torch.stack([label[0] == index for index in range(classes)]).float()


def dice(one: Array, other: Array) -> float:
    """Of the worst foreground class."""
    pairs = [(one == value, other == value) for value in np.unique(other) if value]
    return min(2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in pairs)


def inner(array: Array, edge: int = 2) -> Array:
    return array[tuple(slice(edge, -edge) for _ in range(array.ndim))]


@pytest.mark.parametrize("stored", ORIENTATIONS)
def test_every_orientation_is_turned_to_ras_and_back_exactly(stored: str) -> None:
    assert len(ORIENTATIONS) == 48
    shape, rng = (4, 5, 6), np.random.default_rng(0)
    turn = nib.orientations.axcodes2ornt(tuple(stored))
    affine = np.diag([1.5, 2.0, 3.0, 1.0]) @ nib.orientations.inv_ornt_aff(turn, shape)
    image, label = rng.normal(size=(2, *shape)).astype(np.float32), rng.integers(0, 3, shape)
    preparation = Preparation(3, 2, orientation="RAS")
    case = preparation.prepare(scan(image, affine), scan(label, affine))
    assert nib.aff2axcodes(case.affine) == ("R", "A", "S")
    assert case.label is not None
    where = {tuple(np.round(place, 6)): index for index, place in enumerate(places(shape, affine).reshape(-1, 3))}
    order = [where[tuple(np.round(place, 6))] for place in places(case.image.shape[1:], case.affine).reshape(-1, 3)]
    np.testing.assert_array_equal(case.image.numpy().reshape(2, -1), image.reshape(2, -1)[:, order])
    np.testing.assert_array_equal(case.label.numpy().ravel(), label.ravel()[order])
    back = preparation.labels_on_source(one_hot(case.label), case)
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(back, label)


@pytest.mark.parametrize("wanted", ["LPS", "SAR", "PIR"])
def test_any_orientation_may_be_asked_for_also_of_an_oblique_scan(wanted: str) -> None:
    preparation = Preparation(3, 1, orientation=wanted)
    case, label = prepared(preparation, (12, 14, 9), oblique())
    assert nib.aff2axcodes(case.affine) == tuple(wanted)
    np.testing.assert_allclose(case.image[0], ramp(case.image.shape[1:], case.affine), atol=1e-4)
    assert case.label is not None
    np.testing.assert_array_equal(preparation.labels_on_source(one_hot(case.label), case), label)


@pytest.mark.parametrize("affine", [STRAIGHT, oblique()], ids=["straight", "oblique"])
def test_resampling_has_the_spacing_and_the_values_of_the_place(affine: Array) -> None:
    preparation = Preparation(3, 1, orientation="RAS", spacing=(2.0, 1.0, 1.4))
    case, label = prepared(preparation, (21, 18, 10), affine)
    np.testing.assert_allclose(nib.affines.voxel_sizes(case.affine), (2.0, 1.0, 1.4), rtol=1e-6)
    assert case.image.shape == (1, 11, 26, 20)  # round((n - 1) * old / new + 1)
    np.testing.assert_allclose(case.image[0], ramp(case.image.shape[1:], case.affine), atol=2e-3)
    assert case.label is not None
    for value in (1, 2):
        there, here = places(label.shape, affine), places(case.label.shape[1:], case.affine)
        centre = there[label == value].mean(axis=0), here[case.label[0].numpy() == value].mean(axis=0)
        np.testing.assert_allclose(*centre, atol=0.4)  # mm
    back = preparation.labels_on_source(one_hot(case.label), case)
    assert back.shape == label.shape


@pytest.mark.parametrize("affine", [STRAIGHT, oblique()], ids=["straight", "oblique"])
@pytest.mark.parametrize(
    "options",
    [
        {"spacing": (1.0, 1.0, 1.0)},
        {"spacing": (1.5, 1.5, 2.0)},
        {"image_size": (32, 32, 16)},
        {"spacing": (1.0, 1.0, 1.0), "image_size": (48, 48, 48)},
    ],
    ids=lambda options: "+".join(options),
)
def test_a_label_comes_back_on_the_source_grid_from_any_resampling(affine: Array, options: dict[str, Any]) -> None:
    preparation = Preparation(3, 1, orientation="RAS", **options)
    shape = (48, 36, 16)
    label = blobs(shape, affine, radius=18.0)
    case = preparation.prepare(scan(np.zeros((1, *shape), np.float32), affine), scan(label, affine))
    assert case.label is not None
    back = preparation.labels_on_source(one_hot(case.label), case)
    assert back.shape == shape
    assert dice(back, label) > 0.95


@pytest.mark.parametrize("size", [(10, 9, 5), (40, 36, 20), (10, 36, 15), (21, 9, 30)])
def test_resizing_has_the_values_of_the_place_whether_axes_shrink_or_grow(size: tuple[int, ...]) -> None:
    affine = oblique()
    case, _ = prepared(Preparation(3, 1, image_size=size), (20, 18, 10), affine)
    assert case.image.shape == (1, *size)
    assert case.label is not None
    assert case.label.shape == (1, *size)
    # linear but for area means of a fraction of a voxel, and at the rim, where it is flat
    np.testing.assert_allclose(inner(case.image[0].numpy()), inner(ramp(size, case.affine)), atol=0.55)


def test_enlarging_interpolates_and_shrinking_averages() -> None:
    rows = np.array([[0.0, 4.0, 8.0, 4.0]], np.float32).repeat(4, axis=0)
    image = scan(rows[None], np.eye(4), 2)
    large = Preparation(2, 1, image_size=(4, 8)).prepare(image).image[0, 0]
    torch.testing.assert_close(large, torch.tensor([0.0, 1, 3, 5, 7, 7, 5, 4]))
    small = Preparation(2, 1, image_size=(4, 2)).prepare(image).image[0, 0]
    torch.testing.assert_close(small, torch.tensor([2.0, 6.0]))


def test_a_resized_label_lies_where_its_image_lies() -> None:
    label = np.zeros((9, 9), np.int32)
    label[3:6, 3:6] = 1  # the middle third is the middle voxel of 3 by 3, whose centre is (4, 4)
    label[4, 4] = 2
    case = Preparation(2, 1, image_size=(3, 3)).prepare(
        scan(label[None].astype(np.float32), np.eye(4), 2), scan(label, np.eye(4), 2)
    )
    assert case.label is not None
    assert case.label[0].tolist() == [[0, 0, 0], [0, 2, 0], [0, 0, 0]]
    np.testing.assert_allclose(case.affine[:2, 3], [1.0, 1.0])


@pytest.mark.parametrize(
    "affine", [np.diag([2.0, 3.0, 4.0, 1.0]), SAGITTAL, oblique()], ids=["axial", "sagittal", "oblique"]
)
@pytest.mark.parametrize("options", [{}, {"spacing": (0.8, 1.0)}, {"image_size": (64, 60)}], ids=str)
def test_a_slice_of_a_volume_is_prepared_and_comes_back_whatever_its_plane(
    tmp_path: Path, affine: Array, options: dict[str, Any]
) -> None:
    label = blobs((40, 36), affine, radius=14.0)
    for name, array in (("image", ramp((40, 36), affine)), ("label", label)):
        nib.save(nib.Nifti1Image(array.astype(np.float32), affine), tmp_path / f"{name}.nii.gz")
    preparation = Preparation(2, 1, orientation="RAS", **options)
    image, mask = preparation.read(
        Record("a", (tmp_path / "image.nii.gz",), tmp_path / "label.nii.gz"), with_label=True
    )
    case = preparation.prepare(image, mask)
    assert case.label is not None
    values = inner(case.image[0].numpy())
    np.testing.assert_allclose(values, inner(ramp(case.image.shape[1:], case.affine)), atol=1e-3 * np.abs(values).max())
    back = preparation.labels_on_source(one_hot(case.label), case)
    assert dice(back, label) > (0.95 if options else 0.9999)


def test_pictures_are_prepared_and_come_back(tmp_path: Path) -> None:
    label = blobs((40, 30), np.eye(4), radius=12.0).astype(np.uint8)
    Image.fromarray(label * 100).save(tmp_path / "image.png")
    Image.fromarray(label).save(tmp_path / "label.png")
    preparation = Preparation(2, 1, image_size=(64, 64))
    record = Record("a", (tmp_path / "image.png",), tmp_path / "label.png")
    case = preparation.prepare(*preparation.read(record, with_label=True))
    assert case.label is not None
    assert case.image.shape == case.label.shape == (1, 64, 64)
    assert dice(preparation.labels_on_source(one_hot(case.label), case), label) > 0.95


def test_a_prepared_case_is_plain_normalised_and_leaves_the_scan_as_it_was() -> None:
    array = np.random.default_rng(0).normal(50, 9, (2, 6, 7, 8)).astype(np.float32)
    before = array.copy()
    normalize = NormalizeIntensity(channel_wise=True)
    for orientation in (None, "RAS", "LAS"):
        case = Preparation(3, 2, orientation, normalize=normalize).prepare(scan(array, STRAIGHT))
        assert type(case.image) is torch.Tensor
        assert case.image.dtype == torch.float32
        assert case.image.is_contiguous()
        assert case.label is None
        torch.testing.assert_close(case.image.mean(dim=(1, 2, 3)), torch.zeros(2), atol=1e-5, rtol=0)
        torch.testing.assert_close(case.image.std(dim=(1, 2, 3), correction=0), torch.ones(2), atol=1e-4, rtol=0)
        np.testing.assert_array_equal(array, before)


def test_labels_are_bytes_unless_there_are_too_many_classes() -> None:
    image = scan(np.zeros((1, 3, 3, 3), np.float32), STRAIGHT)
    for value, kind in ((255, torch.uint8), (300, torch.int16)):
        case = Preparation(3, 1, "RAS").prepare(image, scan(np.full((3, 3, 3), value), STRAIGHT))
        assert case.label is not None
        assert case.label.dtype == kind
        assert int(case.label.max()) == value
    probabilities = torch.zeros(301, 3, 3, 3)
    probabilities[300] = 1
    back = Preparation(3, 1, "RAS").labels_on_source(probabilities, case)
    assert back.dtype == np.uint16
    assert back.min() == 300


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"orientation": "RAX"}, r"dataset\.orientation: 'RAX' names no three axes"),
        ({"orientation": "RLS"}, r"dataset\.orientation: 'RLS' names no three axes"),
        ({"spacing": (1.0, 1.0)}, r"dataset\.spacing: \[1\.0, 1\.0\] is not a positive number for each of 3 axes"),
        ({"image_size": (8, 8, 0)}, r"dataset\.image_size: \[8, 8, 0\] is not a positive number"),
        (
            {"windows": [[40, 80], [80, 200]]},
            r"dataset\.windows: 2 windows make 2 channels, dataset\.in_channels is 1; set",
        ),
        ({"windows": [[40, 0]]}, r"dataset\.windows: \[40, 0\] is no level and width"),
        ({"windows": [[40, 80, 1]]}, r"dataset\.windows: \[40, 80, 1\] is no level and width"),
        ({"windows": [[float("nan"), 80]]}, r"dataset\.windows: \[nan, 80\] is no level and width"),
        ({"windows": [40]}, r"dataset\.windows: 40 is no level and width"),
        ({"label_values": []}, r"dataset\.label_values: a class has no value"),
        ({"label_values": [0, []]}, r"dataset\.label_values: a class has no value"),
        ({"label_values": [0, 1.5]}, r"dataset\.label_values: 1\.5 is no whole number"),
        ({"label_values": [0, [1, "two"]]}, r"dataset\.label_values: 'two' is no whole number"),
        ({"label_values": [0, [1, 2], 2]}, r"dataset\.label_values: 2 stand for several classes"),
    ],
)
def test_values_that_fit_no_grid_are_refused_before_anything_is_read(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Preparation(3, 1, **options)


def test_the_way_back_holds_no_more_memory_for_many_classes_than_for_three() -> None:
    preparation = Preparation(3, 1, spacing=(2.0, 2.0, 2.0))
    case = preparation.prepare(scan(np.zeros((1, 40, 40, 40), np.float32), np.eye(4)))
    most = []
    for classes in (3, 40):
        probabilities = torch.softmax(torch.rand(classes, *case.image.shape[1:]), dim=0)
        tracemalloc.start()
        labels = preparation.labels_on_source(probabilities, case)
        most.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert labels.shape == (40, 40, 40)
    full = 4 * 40**3
    assert most[0] > full  # the meter runs
    assert most[1] < most[0] + full


@pytest.mark.parametrize("orientation", [None, "RAS", "PIR"])
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.8, 2.0, 1.3)])
def test_a_case_is_what_monais_transforms_make_of_it(orientation: str | None, spacing: tuple[float, ...]) -> None:
    rng, shape = np.random.default_rng(0), (21, 18, 12)
    image, label = rng.normal(100, 40, (2, *shape)).astype(np.float32), rng.integers(0, 3, shape)
    affine = np.diag([-0.9, 1.5, 2.5, 1.0])
    case = Preparation(3, 2, orientation, spacing, normalize=NormalizeIntensity(channel_wise=True)).prepare(
        scan(image, affine), scan(label, affine)
    )
    theirs = {"image": MetaTensor(image, affine=affine), "label": MetaTensor(label[None], affine=affine)}
    chain: list[Any] = [] if orientation is None else [Orientationd(["image", "label"], orientation, labels=None)]
    modes = ("bilinear", "nearest")
    chain += [Spacingd(["image", "label"], spacing, mode=modes), NormalizeIntensityd("image", channel_wise=True)]
    made: Any = theirs
    for transform in chain:
        made = transform(made)
    assert case.label is not None
    np.testing.assert_allclose(case.image, made["image"].numpy(), atol=1e-5, rtol=0)
    np.testing.assert_array_equal(case.label, made["label"].numpy())
    np.testing.assert_allclose(case.affine, made["image"].affine.numpy(), atol=1e-6)


def test_the_spacing_of_a_slice_is_that_of_the_scan_and_not_of_its_affine() -> None:
    image = Scan(np.zeros((1, 10, 20), np.float32), np.eye(4), (2.0, 0.5))  # a slice of a volume lies nowhere
    case = Preparation(2, 1, spacing=(1.0, 1.0)).prepare(image)
    assert case.image.shape == (1, 19, 10)  # round((n - 1) * old / new + 1), halves to even
    np.testing.assert_allclose(np.diag(case.affine), (0.5, 2.0, 1.0, 1.0))


# --- crop to the foreground


def framed(shape: Sequence[int] = (20, 16, 12)) -> tuple[Array, Array, tuple[slice, ...]]:
    """Image (2, *shape) of zeros around something, its label map, which also has a voxel outside, and where it is."""
    rng = np.random.default_rng(0)
    inside = (slice(3, 15), slice(2, 16), slice(1, 8))
    image = np.zeros((2, *shape), np.float32)
    image[(slice(None), *inside)] = rng.normal(10, 1, (2, 12, 14, 7))
    label = np.zeros(shape, np.int32)
    label[5:12, 4:13, 2:6] = rng.integers(0, 3, (7, 9, 4))
    return image, label, inside


def test_a_case_is_cropped_to_what_is_not_zero_and_its_label_with_it() -> None:
    image, label, inside = framed()
    case = Preparation(3, 2, crop_foreground=True).prepare(scan(image, STRAIGHT), scan(label, STRAIGHT))
    assert case.box == ((3, 2, 1), (15, 16, 8))
    np.testing.assert_array_equal(case.image, image[(slice(None), *inside)])
    assert case.label is not None
    np.testing.assert_array_equal(case.label[0], label[inside])
    np.testing.assert_allclose(case.affine @ [0, 0, 0, 1], STRAIGHT @ [3, 2, 1, 1])


def test_what_lies_outside_of_the_crop_comes_back_as_background() -> None:
    image, label, inside = framed()
    label[0, 0, 0] = 2
    for orientation in (None, "RAS", "SAR"):
        preparation = Preparation(3, 2, orientation, crop_foreground=True)
        case = preparation.prepare(scan(image, oblique()), scan(label, oblique()))
        assert case.label is not None
        back = preparation.labels_on_source(one_hot(case.label), case)
        assert back[0, 0, 0] == 0
        np.testing.assert_array_equal(back[inside], label[inside])
        assert back.shape == label.shape


def test_a_cropped_and_resampled_case_lies_where_it_lay() -> None:
    shape, affine = (40, 36, 20), oblique()
    label = blobs(shape, affine, radius=14.0)
    image = ramp(shape, affine).astype(np.float32)[None] + 1000
    image[0, :4] = image[0, :, -3:] = 0
    preparation = Preparation(3, 1, "LPS", (1.2, 1.0, 2.0), crop_foreground=True)
    case = preparation.prepare(scan(image, affine), scan(label, affine))
    assert case.box is not None
    assert sorted(stop - start for start, stop in zip(*case.box, strict=True)) == [20, 33, 36]
    np.testing.assert_allclose(case.image[0], ramp(case.image.shape[1:], case.affine) + 1000, atol=2.0)
    assert case.label is not None
    assert dice(preparation.labels_on_source(one_hot(case.label), case), label) > 0.95


def test_an_image_of_nothing_is_kept_whole() -> None:
    case = Preparation(3, 1, "RAS", crop_foreground=True).prepare(scan(np.zeros((1, 4, 5, 6), np.float32), STRAIGHT))
    assert case.image.shape == (1, 4, 5, 6)
    assert case.box == ((0, 0, 0), (4, 5, 6))


def test_nothing_is_cropped_unless_it_is_asked_for() -> None:
    image, label, _ = framed()
    case = Preparation(3, 2).prepare(scan(image, STRAIGHT), scan(label, STRAIGHT))
    assert case.box is None
    assert case.image.shape == image.shape


# --- windows


def test_windows_of_ct_become_channels_from_zero_to_one() -> None:
    hounsfield = np.array([[-1000.0, 0.0, 40.0, 80.0, 60.0, 3000.0]], np.float32)
    case = Preparation(2, 2, windows=[[40, 80], [600, 2800]]).prepare(scan(hounsfield[None], np.eye(4), 2))
    torch.testing.assert_close(case.image[0, 0], torch.tensor([0.0, 0.0, 0.5, 1.0, 0.75, 1.0]))
    torch.testing.assert_close(
        case.image[1, 0], torch.tensor([0.0, 800 / 2800, 840 / 2800, 880 / 2800, 860 / 2800, 1.0])
    )
    assert hounsfield[0, 0] == -1000


def test_windows_are_cut_out_of_resampled_hounsfield_units_and_then_normalised() -> None:
    hounsfield = np.array([[0.0, 1000.0], [0.0, 1000.0]], np.float32)  # halfway: 500, and not the mean of 0 and 1
    seen = []

    def normalize(image: torch.Tensor) -> torch.Tensor:
        seen.append(image.clone())
        return image * 2

    case = Preparation(2, 1, spacing=(1.0, 0.5), windows=[(250, 500)], normalize=normalize).prepare(
        scan(hounsfield[None], np.eye(4), 2)
    )
    assert seen[0].shape == (1, 2, 3)
    torch.testing.assert_close(seen[0][0, 0], torch.tensor([0.0, 1.0, 1.0]))
    torch.testing.assert_close(case.image[0, 0], torch.tensor([0.0, 2.0, 2.0]))


def test_a_file_of_one_channel_is_read_for_many_windows(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.full((4, 4, 4), 40, np.int16), np.eye(4)), tmp_path / "ct.nii.gz")
    preparation = Preparation(3, 3, windows=[[40, 80], [80, 200], [600, 2800]])
    assert preparation.file_channels == 1
    image, _ = preparation.read(Record("a", (tmp_path / "ct.nii.gz",)), with_label=False)
    assert image.array.shape == (1, 4, 4, 4)
    assert preparation.prepare(image).image[:, 0, 0, 0].tolist() == pytest.approx([0.5, 0.3, 0.3])


# --- label values


def labelled(folder: Path, values: Array, region: Array | None = None) -> Record:
    nib.save(nib.Nifti1Image(np.zeros(values.shape, np.float32), np.eye(4)), folder / "image.nii.gz")
    nib.save(nib.Nifti1Image(values, np.eye(4)), folder / "label.nii.gz")
    if region is not None:
        nib.save(nib.Nifti1Image(region, np.eye(4)), folder / "region.nii.gz")
    return Record(
        "a",
        (folder / "image.nii.gz",),
        folder / "label.nii.gz",
        region=folder / "region.nii.gz" if region is not None else None,
    )


@pytest.mark.parametrize(
    ("label_values", "stored", "classes"),
    [
        ([0, 255], [0, 255, 0, 255], [0, 1, 0, 1]),
        ([[0, 3], 1, [2, 4]], [0, 1, 2, 3, 4], [0, 1, 2, 0, 2]),
        ([10, -1], [10, -1, -1], [0, 1, 1]),
        ([0, 600_000_000, [5, 7]], [0, 7, 600_000_000, 5], [0, 2, 1, 2]),
        (None, [0, 1, 2], [0, 1, 2]),
    ],
)
def test_values_of_the_files_become_class_indices(
    tmp_path: Path, label_values: Any, stored: list[int], classes: list[int]
) -> None:
    record = labelled(tmp_path, np.array(stored, np.int32)[:, None, None])
    _, label = Preparation(3, 1, label_values=label_values).read(record, with_label=True)
    assert label is not None
    assert label.array[:, 0, 0].tolist() == classes


@pytest.mark.parametrize("far", [[], [600_000_000]], ids=["near", "far"])
def test_values_that_stand_for_no_class_are_all_counted_and_named(tmp_path: Path, far: list[int]) -> None:
    stored = np.zeros((8, 8, 2), np.int32)
    stored[0, :7, 0] = (1, 7, 7, -3, 9, 300, 70000)
    record = labelled(tmp_path, stored)
    with pytest.raises(UserError) as error:
        Preparation(3, 1, label_values=[0, [255, *far]]).read(record, with_label=True)
    allowed = ", ".join(map(str, [0, 255, *far]))
    assert str(error.value) == (
        f"case a: {tmp_path / 'label.nii.gz'}: label values -3 (1 voxels), 1 (1 voxels), 7 (2 voxels), 9 (1 voxels), "
        f"300 (1 voxels) and 1 more are outside of {allowed} (dataset.label_values); list them or mend the file"
    )


def test_more_classes_than_bytes_have_values_keep_their_indices(tmp_path: Path) -> None:
    record = labelled(tmp_path, np.arange(300, dtype=np.int32)[:, None, None] * 2)
    _, label = Preparation(3, 1, label_values=[value * 2 for value in range(300)]).read(record, with_label=True)
    assert label is not None
    assert label.array[:, 0, 0].tolist() == list(range(300))


# --- the region that is evaluated


@pytest.mark.parametrize("label_values", [None, [2, 1, 0]], ids=["indices", "values"])
def test_a_label_is_background_outside_of_its_region_whatever_it_holds_there(tmp_path: Path, label_values: Any) -> None:
    stored = np.array([1, 1, 0, 99, 2, 0], np.uint8)[:, None, None]
    region = np.array([1, 0, 1, 0, 255, 0], np.uint8)[:, None, None]
    record = labelled(tmp_path, stored, region)
    preparation = Preparation(3, 1, label_values=label_values)
    _, label = preparation.read(record, with_label=True)
    assert label is not None
    assert label.array[:, 0, 0].tolist() == ([1, 0, 0, 0, 2, 0] if label_values is None else [1, 0, 2, 0, 0, 0])
    seen = preparation.region(record)
    assert seen is not None
    assert seen.dtype == bool
    assert seen[:, 0, 0].tolist() == [True, False, True, False, True, False]
    assert preparation.region(Record("b", record.images)) is None


def test_a_region_of_another_shape_is_refused(tmp_path: Path) -> None:
    record = labelled(tmp_path, np.zeros((4, 4, 4), np.uint8), np.ones((4, 4, 5), np.uint8))
    with pytest.raises(
        UserError, match=r"case a: .*region\.nii\.gz: field of view \(4, 4, 5\) differs from label shape"
    ):
        Preparation(3, 1).read(record, with_label=True)


# --- missing channels


def lacking(missing: tuple[int, ...], channels: int = 3) -> Scan:
    array = np.random.default_rng(0).normal(50, 9, (channels, 6, 7, 8)).astype(np.float32)
    array[list(missing)] = 0
    return Scan(array, STRAIGHT, (1.0, 1.5, 3.0), missing)


def fussy(image: torch.Tensor) -> torch.Tensor:
    """Of each of three channels in its own way, and none constant."""
    assert len(image) == 3
    assert (image.amax(dim=(1, 2, 3)) > image.amin(dim=(1, 2, 3))).all()
    return image + torch.tensor([1000.0, 2000.0, 3000.0])[:, None, None, None]


@pytest.mark.parametrize(
    "normalize",
    [
        None,
        fussy,
        NormalizeIntensity(channel_wise=True),
        NormalizeIntensity(channel_wise=True, nonzero=True),
        NormalizeIntensity(subtrahend=[1.0, 2.0, 3.0], divisor=[1.0, 2.0, 3.0], channel_wise=True),
        ScaleIntensity(channel_wise=True),
        ScaleIntensityRangePercentiles(1, 99, 0, 1, channel_wise=True),
    ],
    ids=["none", "function", "z", "nonzero", "given", "scale", "percentiles"],
)
@pytest.mark.parametrize("missing", [(0,), (1,), (0, 2)])
def test_a_missing_channel_is_zero_and_changes_no_other(normalize: Any, missing: tuple[int, ...]) -> None:
    preparation = Preparation(3, 3, "RAS", (2.0, 2.0, 2.0), normalize=normalize)
    case = preparation.prepare(lacking(missing))
    whole = preparation.prepare(lacking(()))
    assert case.missing == missing
    assert case.image.shape == whole.image.shape
    for channel in range(3):
        wanted = torch.zeros_like(case.image[0]) if channel in missing else whole.image[channel]
        torch.testing.assert_close(case.image[channel], wanted, atol=1e-6, rtol=1e-6)


def test_statistics_of_all_channels_together_are_of_those_that_are_there() -> None:
    preparation = Preparation(3, 3, normalize=NormalizeIntensity(channel_wise=False))
    case = preparation.prepare(lacking((1,)))
    there = case.image[[0, 2]]
    assert float(there.mean()) == pytest.approx(0, abs=1e-5)
    assert float(there.std(correction=0)) == pytest.approx(1, abs=1e-4)
    assert not case.image[1].any()


def test_a_missing_channel_does_not_keep_the_frame_of_the_others() -> None:
    image, _, _ = framed()
    image[1] = 0
    case = Preparation(3, 2, crop_foreground=True).prepare(Scan(image, STRAIGHT, (1.0, 1.5, 3.0), (1,)))
    assert case.box == ((3, 2, 1), (15, 16, 8))
    assert case.image.shape == (2, 12, 14, 7)


# --- what it is


def test_a_preparation_is_another_as_soon_as_one_argument_is() -> None:
    given: dict[str, Any] = {
        "spatial_dims": 3,
        "in_channels": 1,
        "orientation": "RAS",
        "spacing": (1, 1, 2),
        "image_size": (8, 8, 8),
        "normalize": NormalizeIntensity(),
        "windows": [[40, 80]],
        "crop_foreground": False,
        "label_values": [0, [1, 2]],
    }
    changed: dict[str, list[Any]] = {
        "orientation": [None, "LPS"],
        "spacing": [None, (1, 1, 2.0001), (1, 2, 1)],
        "image_size": [None, (8, 8, 9)],
        "normalize": [None, NormalizeIntensity(nonzero=True), ScaleIntensity(), fussy],
        "windows": [[[40, 81]], [[41, 80]]],
        "crop_foreground": [True],
        "label_values": [None, [0, 1], [0, 1, 2], [1, [0, 2]]],
    }
    texts = [Preparation(**given).identity()]
    for key, values in changed.items():
        texts += [Preparation(**{**given, key: value}).identity() for value in values]
    texts.append(Preparation(**{**given, "windows": None}).identity())
    texts.append(Preparation(**{**given, "windows": None, "in_channels": 2}).identity())
    assert len(set(texts)) == len(texts)
    same = {
        "spacing": [1.0, 1.0, 2.0],
        "image_size": [8, 8, 8],
        "windows": ((40.0, 80.0),),
        "label_values": [[0], [1, 2]],
    }
    assert Preparation(**{**given, **same, "normalize": NormalizeIntensity()}).identity() == texts[0]


def test_a_normalisation_that_cannot_be_told_from_another_is_refused_by_its_key() -> None:
    with pytest.raises(UserError, match=r"dataset\.normalize: .*RandGaussianNoise draws at random"):
        Preparation(3, 1, normalize=RandGaussianNoise()).identity()


REAL = [
    ("sct_testing_data", "t2/t2.nii.gz", "t2/t2_seg-manual.nii.gz"),
    (
        "msd_task09_spleen_crop",
        "sub-spleen2/ct/sub-spleen2_ct.nii.gz",
        "derivatives/labels/sub-spleen2/ct/sub-spleen2_ct_seg-manual.nii.gz",
    ),
    ("msd_task04_hippocampus", "imagesTr/*.nii.gz", "labelsTr/*.nii.gz"),
]


@pytest.mark.real_data
@pytest.mark.parametrize(("name", "image", "label"), REAL, ids=[name for name, _, _ in REAL])
def test_labels_of_real_scans_come_back(real_data: Callable[[str], Path], name: str, image: str, label: str) -> None:
    root = real_data(name)
    record = Record(name, (sorted(root.glob(image))[0],), sorted(root.glob(label))[0])
    turned = Preparation(3, 1, orientation="RAS", normalize=NormalizeIntensity())
    scans = turned.read(record, with_label=True)
    assert scans[1] is not None
    source = np.clip(scans[1].array, 0, 2)
    case = turned.prepare(*scans)
    assert case.label is not None
    assert nib.aff2axcodes(case.affine) == ("R", "A", "S")
    np.testing.assert_array_equal(turned.labels_on_source(one_hot(case.label.clip(max=2)), case), source)
    finer = Preparation(3, 1, orientation="RAS", spacing=[size * 0.8 for size in scans[0].spacing])
    if name == "sct_testing_data":
        finer = Preparation(3, 1, orientation="RAS", spacing=[0.7, 0.7, 0.7])
    case = finer.prepare(*scans)
    assert case.label is not None
    back = finer.labels_on_source(one_hot(case.label.clip(max=2)), case)
    assert dice(back, source) > 0.95
