"""NIfTI volumes are read as they are stored, and whatever is wrong with one is said before a voxel of it is used."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from layouts.one_case import AFFINE, VOLUME, image, label, nifti, refused

from medexp.data.formats.nifti import nifti_header, read_nifti, singular
from medexp.data.formats.scan import Unreadable, Wanted


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "A.NII.GZ"])
def test_a_volume_keeps_values_affine_and_spacing(tmp_path: Path, name: str) -> None:
    scan = image(nifti(tmp_path / "a.nii", VOLUME))
    if name != "a.nii":
        (tmp_path / name).write_bytes(gzip.compress((tmp_path / "a.nii").read_bytes()))
        scan = image(tmp_path / name)
    assert scan.array.dtype == np.float32
    assert scan.array.flags.c_contiguous
    np.testing.assert_array_equal(scan.array, VOLUME[None])
    np.testing.assert_array_equal(scan.affine, AFFINE)
    assert scan.spacing == (2.0, 3.0, 4.0)


def test_scaled_and_big_endian_integers_become_the_values_they_stand_for(tmp_path: Path) -> None:
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(np.int16)
    header.set_slope_inter(0.5, -1000)
    values = np.arange(24).reshape(2, 3, 4) / 2 - 1000
    nib.save(nib.Nifti1Image(values, AFFINE, header), tmp_path / "a.nii.gz")
    np.testing.assert_allclose(image(tmp_path / "a.nii.gz").array[0], values)


def test_nifti_2_is_read(tmp_path: Path) -> None:
    nib.save(nib.Nifti2Image(VOLUME, AFFINE), tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(image(tmp_path / "a.nii.gz").array[0], VOLUME)


def test_a_fourth_axis_is_channels_where_the_number_agrees(tmp_path: Path) -> None:
    path = nifti(tmp_path / "a.nii.gz", np.stack([VOLUME, 2 * VOLUME], axis=-1))
    np.testing.assert_array_equal(image(path, channels=2).array, np.stack([VOLUME, 2 * VOLUME]))
    for channels in (1, 3, None):
        refused(path, r"is 4D \(5, 6, 7, 2\) where 3D is expected; set .*dataset\.in_channels", channels=channels)


def test_trailing_axes_of_one_are_dropped_but_not_a_single_slice(tmp_path: Path) -> None:
    assert image(nifti(tmp_path / "a.nii", VOLUME[..., None])).array.shape == (1, 5, 6, 7)
    assert image(nifti(tmp_path / "b.nii", VOLUME[..., :1])).array.shape == (1, 5, 6, 1)
    flat = image(nifti(tmp_path / "c.nii", VOLUME[..., :1]), dims=2)
    assert flat.array.shape == (1, 5, 6)
    assert flat.spacing == (2.0, 3.0)
    refused(nifti(tmp_path / "d.nii", VOLUME[..., 0]), r"is 2D \(5, 6\) where 3D is expected")


def damaged(change: Callable[[bytes], bytes], packed: bool = False) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        content = nifti(folder / "whole.nii", VOLUME).read_bytes()
        path = folder / ("bad.nii.gz" if packed else "bad.nii")
        path.write_bytes(change(gzip.compress(content, mtime=0)) if packed else change(content))
        return path

    return write


def header(offset: int, *values: float, kind: str = "<i2") -> Callable[[bytes], bytes]:
    new = np.asarray(values, dtype=kind).tobytes()
    return lambda content: content[:offset] + new + content[offset + len(new) :]


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


PAGE = b"\n<!DOCTYPE html><html><body>Sign in" + b" " * 600


@pytest.mark.parametrize(
    ("write", "message"),
    [
        pytest.param(damaged(lambda _: b""), r"is empty \(0 bytes\)", id="empty"),
        pytest.param(damaged(lambda _: b"", packed=True), r"is empty \(0 bytes\)", id="empty packed"),
        pytest.param(damaged(lambda c: c[:200]), "has no whole header", id="cut header"),
        pytest.param(damaged(lambda c: c[:352]), "is truncated: its header announces 1192 bytes", id="header only"),
        pytest.param(damaged(lambda c: c[:-1]), "is truncated", id="last byte missing"),
        pytest.param(damaged(lambda c: c[: len(c) // 2], packed=True), "is truncated", id="half a stream"),
        pytest.param(damaged(lambda c: c[:-4], packed=True), "is truncated", id="stream without its end"),
        pytest.param(damaged(flipped, packed=True), "is damaged", id="flipped bit"),
        pytest.param(damaged(lambda c: c[:-8] + bytes(4) + c[-4:], packed=True), "CRC check failed", id="checksum"),
        pytest.param(damaged(gzip.decompress, packed=True), "is damaged: Not a gzipped file", id="not gzip"),
        pytest.param(damaged(gzip.compress), r"is no NIfTI file .*it is gzip: name it \.nii\.gz", id="gzip in .nii"),
        pytest.param(damaged(lambda _: PAGE), "is a web page, not an image; download it again", id="page"),
        pytest.param(damaged(lambda _: PAGE, packed=True), "is a web page", id="page named .gz"),
        pytest.param(damaged(lambda _: gzip.compress(PAGE), packed=True), "is a web page", id="packed page"),
        pytest.param(damaged(lambda _: b"x" * 4000), "is no NIfTI file", id="noise"),
        pytest.param(damaged(header(42, 0)), r"its header claims the shape \(0, 6, 7\)", id="zero axis"),
        pytest.param(damaged(header(42, -5)), r"its header claims the shape \(-5, 6, 7\)", id="negative axis"),
        pytest.param(damaged(header(40, 0)), "its header claims the shape", id="no axes"),
        pytest.param(damaged(header(42, 30000, 30000, 30000)), "announces 100583 GiB; it is no scan", id="bomb"),
        pytest.param(damaged(header(40, 9)), r"claims 9 axes \(dim\[0\]\); NIfTI has 1 to 7", id="nine axes"),
        pytest.param(damaged(header(40, -1)), r"claims -1 axes \(dim\[0\]\)", id="less than no axes"),
        pytest.param(damaged(header(70, 7777)), "claims the data type 7777, which NIfTI does not", id="unknown type"),
        pytest.param(damaged(header(108, np.nan, kind="<f4")), "is no NIfTI file", id="offset"),
        pytest.param(damaged(header(280, np.nan, kind="<f4")), "its affine is singular or not finite", id="nan affine"),
        pytest.param(damaged(header(280, *[0] * 4, kind="<f4")), "its affine is singular", id="singular affine"),
        pytest.param(
            damaged(lambda c: gzip.compress(gzip.decompress(c) + bytes(2**21)), packed=True),
            "goes on beyond the 1192 bytes that its header announces",
            id="goes on",
        ),
    ],
)
def test_a_damaged_volume_is_named_with_what_is_wrong(
    tmp_path: Path, write: Callable[[Path], Path], message: str
) -> None:
    refused(write(tmp_path), message)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (damaged(header(280, np.nan, kind="<f4")), "its affine is singular or not finite; mend the header"),
        (damaged(header(280, *[0] * 4, kind="<f4")), "its affine is singular"),
        (damaged(header(42, 0)), r"its header claims the shape \(0, 6, 7\)"),
        (damaged(header(40, 9)), "claims 9 axes"),
        (damaged(header(70, 7777)), "claims the data type 7777"),
        (damaged(header(70, 32)), "holds complex64 voxels|is truncated"),
        (damaged(lambda c: c[:352]), "is truncated"),
        (damaged(lambda c: c[:200], packed=True), "is truncated"),
        (damaged(lambda _: PAGE, packed=True), "is a web page"),
        (damaged(lambda c: header(256, 9, 9, 9, kind="<f4")(header(252, 1, 0)(c))), "its affine cannot be read|is no"),
    ],
)
def test_a_header_alone_is_refused_for_what_the_volume_would_be(
    tmp_path: Path, write: Callable[[Path], Path], message: str
) -> None:
    path = write(tmp_path)
    for read in (nifti_header, lambda path: read_nifti(path, Wanted(3, 1))):
        with pytest.raises(Unreadable, match=message):
            read(path)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_a_header_alone_says_shape_and_affine(tmp_path: Path, name: str, kind: type) -> None:
    nib.save(kind(VOLUME, AFFINE), tmp_path / name)
    shape, affine = nifti_header(tmp_path / name)
    assert shape == (5, 6, 7)
    np.testing.assert_array_equal(affine, AFFINE)


@pytest.mark.parametrize("size", [5e-5, 1e-20, 1e30])
def test_small_and_large_voxels_are_no_fault_but_axes_in_one_plane_are(tmp_path: Path, size: float) -> None:
    placed = np.diag([size, size, size, 1.0])
    np.testing.assert_allclose(nifti_header(nifti(tmp_path / "a.nii", VOLUME, placed))[1], placed, rtol=1e-6)
    assert not singular(placed)
    assert not singular(np.diag([size, 1.0, 1 / size, 1.0]))
    placed[:3, 2] = placed[:3, 0] + placed[:3, 1]
    assert singular(placed.astype(np.float32))
    assert singular(np.diag([size, size, 0.0, 1.0]))


def test_microscopic_voxels_are_read(tmp_path: Path) -> None:
    scan = image(nifti(tmp_path / "a.nii", VOLUME, np.diag([5e-5, 5e-5, 5e-5, 1.0])))
    assert scan.spacing == pytest.approx((5e-5,) * 3)
    np.testing.assert_array_equal(scan.array[0], VOLUME)


def test_a_small_file_that_claims_gigabytes_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    path = damaged(lambda c: gzip.compress(header(42, 1500, 1500, 1500)(gzip.decompress(c))), packed=True)(tmp_path)
    refused(path, "announces 13500000352 bytes, more than it holds")


def test_voxels_that_are_no_real_numbers_are_refused(tmp_path: Path) -> None:
    refused(nifti(tmp_path / "a.nii", VOLUME.astype(np.complex64)), "holds complex64 voxels")
    colours = np.zeros((3, 3, 3), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    refused(nifti(tmp_path / "b.nii", colours), "real numbers are needed")


@pytest.mark.parametrize("kind", ["uint8", "int16", "int32", "int64", "float32", "float64"])
def test_label_values_stay_whole(tmp_path: Path, kind: str) -> None:
    values = np.arange(60).reshape(3, 4, 5).astype(kind)
    nib.save(nib.Nifti1Image(values, AFFINE, dtype=kind), tmp_path / "a.nii.gz")
    scan = label(tmp_path / "a.nii.gz")
    assert scan.array.dtype.kind == "i"
    np.testing.assert_array_equal(scan.array, np.arange(60).reshape(3, 4, 5))


def test_large_label_values_are_not_rounded(tmp_path: Path) -> None:
    assert label(nifti(tmp_path / "a.nii.gz", np.full((2, 2, 2), 2**24 + 1, np.int32))).array.max() == 2**24 + 1
