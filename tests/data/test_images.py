"""Reading image files: values, axes and places as stored; every fault names the case and the file."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import tifffile
from PIL import Image

from medexp.data.images import Scan, read_image, read_label, stem, suffix
from medexp.data.records import Record
from medexp.errors import UserError

AFFINE = np.array([[-2.0, 0, 0, 10], [0, 3.0, 0, -20], [0, 0, 4.0, 5], [0, 0, 0, 1]])
VOLUME = np.random.default_rng(0).normal(size=(5, 6, 7)).astype(np.float32)
RGB = np.random.default_rng(0).integers(0, 255, (10, 12, 3), dtype=np.uint8)
GREY = RGB[..., 0]


def nifti(path: Path, array: np.ndarray[Any, Any], affine: np.ndarray[Any, Any] = AFFINE) -> Path:
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def image(*paths: Path, dims: int = 3, channels: int | None = 1) -> Scan:
    return read_image(Record("case7", paths), spatial_dims=dims, channels=channels)


def label(path: Path, dims: int = 3) -> Scan:
    return read_label(Record("case7", (), path), spatial_dims=dims)


def refused(path: Path, message: str, dims: int = 3, channels: int | None = 1) -> None:
    with pytest.raises(UserError, match=message) as caught:
        image(path, dims=dims, channels=channels)
    assert str(caught.value).startswith(f"case case7: {path}: ")
    assert "\n" not in str(caught.value)


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


def test_a_file_a_channel_is_stacked(tmp_path: Path) -> None:
    paths = [nifti(tmp_path / f"{i}.nii.gz", VOLUME + i) for i in range(3)]
    np.testing.assert_array_equal(image(*paths, channels=3).array, np.stack([VOLUME, VOLUME + 1, VOLUME + 2]))


def test_channels_of_another_shape_or_place_are_named(tmp_path: Path) -> None:
    first = nifti(tmp_path / "0.nii.gz", VOLUME)
    small = nifti(tmp_path / "small.nii.gz", VOLUME[1:])
    moved = nifti(tmp_path / "moved.nii.gz", VOLUME, AFFINE + np.eye(4, k=3))
    with pytest.raises(UserError, match=r"small\.nii\.gz: has shape \(4, 6, 7\), its first channel \(5, 6, 7\)"):
        image(first, small, channels=2)
    with pytest.raises(UserError, match=r"moved\.nii\.gz: lies elsewhere in space than the first channel"):
        image(first, moved, channels=2)
    with pytest.raises(UserError, match=r"has 2 channels, dataset\.in_channels is 4"):
        image(first, first, channels=4)


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
        pytest.param(damaged(header(70, 7777)), "is no NIfTI file", id="unknown type"),
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


def test_a_small_file_that_claims_gigabytes_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    path = damaged(lambda c: gzip.compress(header(42, 1500, 1500, 1500)(gzip.decompress(c))), packed=True)(tmp_path)
    refused(path, "announces 13500000352 bytes, more than it holds")


def test_voxels_that_are_not_finite_are_counted(tmp_path: Path) -> None:
    broken = VOLUME.copy()
    broken[0, 0, :2], broken[1, 1, 1] = np.nan, np.inf
    refused(nifti(tmp_path / "a.nii.gz", broken), "3 of 210 voxels are NaN or infinite")
    tifffile.imwrite(tmp_path / "a.tif", broken[0])
    refused(tmp_path / "a.tif", "2 of 42 voxels are NaN", dims=2)


def test_voxels_that_are_no_real_numbers_are_refused(tmp_path: Path) -> None:
    refused(nifti(tmp_path / "a.nii", VOLUME.astype(np.complex64)), "holds complex64 voxels")
    colours = np.zeros((3, 3, 3), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    refused(nifti(tmp_path / "b.nii", colours), "real numbers are needed")


def test_a_missing_file_and_an_unknown_kind_are_named(tmp_path: Path) -> None:
    refused(tmp_path / "gone.nii.gz", "no such file")
    (tmp_path / "a.dcm").write_bytes(b"DICM")
    refused(tmp_path / "a.dcm", r"cannot read this kind of file; known: \.nii \.nii\.gz \.png")


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.gif"])
def test_a_grey_picture_has_one_channel_of_rows_and_columns(tmp_path: Path, name: str) -> None:
    Image.fromarray(GREY).save(tmp_path / name)
    scan = image(tmp_path / name, dims=2)
    np.testing.assert_array_equal(scan.array, GREY[None].astype(np.float32))
    np.testing.assert_array_equal(scan.affine, np.eye(4))
    assert scan.spacing == (1.0, 1.0)


def test_colours_become_three_channels_or_the_grey_of_the_same_weights_as_in_pil(tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / "a.png")
    np.testing.assert_array_equal(image(tmp_path / "a.png", dims=2, channels=3).array, np.moveaxis(RGB, -1, 0))
    grey = np.asarray(Image.fromarray(RGB).convert("L"))
    np.testing.assert_allclose(image(tmp_path / "a.png", dims=2, channels=1).array[0], grey, atol=0.51)
    refused(tmp_path / "a.png", "is 3D .* where 2D is expected|has 3 channels", dims=2, channels=2)


def test_transparency_is_dropped(tmp_path: Path) -> None:
    Image.fromarray(np.dstack([RGB, np.zeros_like(GREY)])).save(tmp_path / "a.png")
    np.testing.assert_array_equal(image(tmp_path / "a.png", dims=2, channels=3).array, np.moveaxis(RGB, -1, 0))


def test_one_bit_and_sixteen_bit_pictures_keep_their_values(tmp_path: Path) -> None:
    Image.fromarray(GREY > 100).save(tmp_path / "bit.png")
    np.testing.assert_array_equal(image(tmp_path / "bit.png", dims=2).array[0], GREY > 100)
    deep = GREY.astype(np.uint16) * 200
    Image.fromarray(deep).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(image(tmp_path / "deep.png", dims=2).array[0], deep)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif"])
def test_a_truncated_picture_is_named(tmp_path: Path, name: str) -> None:
    Image.fromarray(RGB).resize((200, 200)).save(tmp_path / name)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    refused(tmp_path / name, "cannot be read as", dims=2, channels=3)


def test_a_picture_that_is_none_and_one_of_several_frames_are_named(tmp_path: Path) -> None:
    (tmp_path / "page.png").write_bytes(PAGE)
    refused(tmp_path / "page.png", "cannot be read as an image", dims=2)
    frames = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    frames[0].save(tmp_path / "film.gif", save_all=True, append_images=frames[1:])
    refused(tmp_path / "film.gif", "holds 2 frames where one is expected", dims=2)


def test_too_large_a_picture_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(RGB).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    refused(tmp_path / "a.png", "is too large a picture", dims=2, channels=3)


def test_the_pages_of_a_tiff_are_the_third_axis_of_a_volume(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", VOLUME)
    np.testing.assert_array_equal(image(tmp_path / "a.tif").array[0], np.moveaxis(VOLUME, 0, 2))
    refused(tmp_path / "a.tif", r"is 3D \(5, 6, 7\) where 2D is expected", dims=2)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits", None])
def test_a_tiff_is_read_whatever_its_compression(tmp_path: Path, compression: str | None) -> None:
    Image.fromarray(RGB).save(tmp_path / "a.tif", compression=compression)
    np.testing.assert_array_equal(image(tmp_path / "a.tif", dims=2, channels=3).array, np.moveaxis(RGB, -1, 0))


def test_a_tiff_may_store_its_colours_plane_by_plane(tmp_path: Path) -> None:
    planes = np.moveaxis(RGB, -1, 0)
    tifffile.imwrite(tmp_path / "a.tif", planes, photometric="rgb", planarconfig="separate")
    np.testing.assert_array_equal(image(tmp_path / "a.tif", dims=2, channels=3).array, planes)


def test_a_tiff_of_images_of_several_sizes_is_refused(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(GREY)
        file.write(GREY[:4, :4])
    refused(tmp_path / "a.tif", "holds 2 images of different kinds", dims=2)


def test_a_row_of_an_array_file_is_found_by_split_and_row(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", train_images=RGB[None], test_images=np.stack([GREY, GREY + 1]))
    record = Record("case7", (tmp_path / "a.npz",), split="test", member=1)
    np.testing.assert_array_equal(read_image(record, spatial_dims=2, channels=1).array[0], GREY + 1)
    colour = Record("case7", (tmp_path / "a.npz",), split="train", member=0)
    assert read_image(colour, spatial_dims=2, channels=3).array.shape == (3, 10, 12)
    with pytest.raises(UserError, match="row 2 of test_images cannot be read"):
        read_image(Record("case7", (tmp_path / "a.npz",), split="test", member=2), spatial_dims=2)


def test_a_truncated_array_file_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", test_images=GREY[None])
    (tmp_path / "a.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:200])
    with pytest.raises(UserError, match=r"case case7: .*a\.npz: row 0 of test_images cannot be read"):
        read_image(Record("case7", (tmp_path / "a.npz",), split="test", member=0), spatial_dims=2)


@pytest.mark.parametrize("kind", ["uint8", "int16", "int32", "int64", "float32", "float64"])
def test_label_values_stay_whole(tmp_path: Path, kind: str) -> None:
    values = np.arange(60).reshape(3, 4, 5).astype(kind)
    nib.save(nib.Nifti1Image(values, AFFINE, dtype=kind), tmp_path / "a.nii.gz")
    scan = label(tmp_path / "a.nii.gz")
    assert scan.array.dtype.kind == "i"
    np.testing.assert_array_equal(scan.array, np.arange(60).reshape(3, 4, 5))


def test_large_label_values_are_not_rounded(tmp_path: Path) -> None:
    assert label(nifti(tmp_path / "a.nii.gz", np.full((2, 2, 2), 2**24 + 1, np.int32))).array.max() == 2**24 + 1


def test_labels_between_whole_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"case case7: .*label values are not whole numbers \(e.g. 0\.5\)"):
        label(nifti(tmp_path / "a.nii.gz", np.full((2, 2, 2), 0.5, np.float32)))


def test_the_entries_of_a_palette_are_the_classes_of_a_label_map(tmp_path: Path) -> None:
    picture = Image.fromarray(np.array([[0, 1], [2, 1]], dtype=np.uint8))
    picture.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    picture.save(tmp_path / "a.png")
    np.testing.assert_array_equal(label(tmp_path / "a.png", dims=2).array, [[0, 1], [2, 1]])


def test_a_grey_label_map_stored_in_colour_is_read_and_a_coloured_one_refused(tmp_path: Path) -> None:
    Image.fromarray(np.repeat(np.array([[[0]], [[2]]], dtype=np.uint8), 3, axis=2)).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(label(tmp_path / "grey.png", dims=2).array, [[0], [2]])
    Image.fromarray(RGB).save(tmp_path / "colour.png")
    with pytest.raises(UserError, match=r"colour\.png: is a colour picture, not a label map"):
        label(tmp_path / "colour.png", dims=2)


def test_a_case_without_label_map_is_named() -> None:
    with pytest.raises(UserError, match="case case7: has no label map"):
        read_label(Record("case7", ()), spatial_dims=3)


def test_suffix_and_stem_know_double_suffixes_and_capitals() -> None:
    assert [suffix(Path(name)) for name in ("a.nii.gz", "a.b.PNG", "a.gz", "a")] == [".nii.gz", ".png", "", ""]
    assert [stem(Path(name)) for name in ("x/a.nii.gz", "a.b.PNG", "a")] == ["a", "a.b", "a"]
