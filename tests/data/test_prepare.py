"""Preparation puts every case on the grid that is asked for, keeps image and label together, and finds the way back."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from itertools import permutations, product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.transforms import NormalizeIntensity
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode

from medexp.data.prepare import Preparation, Prepared
from medexp.data.records import Record
from medexp.data.formats.scan import Array, Scan
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
    ],
)
def test_values_that_fit_no_grid_are_refused_before_anything_is_read(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Preparation(3, 1, **options)


class Peak(TorchDispatchMode):
    """The most bytes that tensors made within held at one time."""

    def __init__(self, given: torch.Tensor) -> None:
        super().__init__()
        self.now = self.most = 0
        self.known = {given.untyped_storage().data_ptr()}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, list | tuple) else [out]:
            if isinstance(tensor, torch.Tensor) and (storage := tensor.untyped_storage()).data_ptr() not in self.known:
                pointer, size = storage.data_ptr(), storage.nbytes()
                self.known.add(pointer)
                self.now += size
                self.most = max(self.most, self.now)
                weakref.finalize(storage, self.freed, pointer, size)
        return out

    def freed(self, pointer: int, size: int) -> None:
        self.known.discard(pointer)
        self.now -= size


def test_the_way_back_holds_no_more_memory_for_many_classes_than_for_three() -> None:
    preparation = Preparation(3, 1, spacing=(2.0, 2.0, 2.0))
    case = preparation.prepare(scan(np.zeros((1, 40, 40, 40), np.float32), np.eye(4)))
    most = []
    for classes in (3, 40):
        probabilities = torch.softmax(torch.rand(classes, *case.image.shape[1:]), dim=0)
        with Peak(probabilities) as peak:
            labels = preparation.labels_on_source(probabilities, case)
        assert labels.shape == (40, 40, 40)
        most.append(peak.most)
    full = 4 * 40**3
    assert most[0] > full  # the meter runs
    assert most[1] < most[0] + full


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
